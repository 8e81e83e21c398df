"""Tests of what is compiled on this machine."""

from __future__ import annotations

import shutil
import sys

import pytest

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or not (shutil.which("cc") or shutil.which("gcc")), reason="needs Linux and a C compiler"
)
