"""Fixtures for every test: small data that is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from testing.checkpoints import save_tiny
from testing.clips import SmallClip, make_small_clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long one example takes says more about the machine than about the code.
settings.register_profile("vos_zoo", deadline=None)
settings.load_profile("vos_zoo")


@pytest.fixture(scope="session", autouse=True)
def _no_notes_in_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Checksums of weights are noted in a cache folder that ends with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with an untrained RDE-VOS in size ``tiny``."""
    return save_tiny("rde", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    """Eight frames of two moving squares; tests must not write into it."""
    return make_small_clip(tmp_path_factory.mktemp("clip"))
