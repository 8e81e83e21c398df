"""Prompts in the place of masks: what a user gives of a video's objects, made when the frames can be read."""

from __future__ import annotations
