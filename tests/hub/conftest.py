"""Checkpoint folders for tests of the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.checkpoints import save_tiny

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with an untrained RDE-VOS; tests must not write into it."""
    return save_tiny("rde", tmp_path_factory.mktemp("saved"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A checkpoint folder that a test may damage."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in saved.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy
