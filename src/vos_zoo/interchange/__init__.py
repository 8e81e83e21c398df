"""Masks of other tools in, masks for other tools out."""
