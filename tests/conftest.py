"""Fixtures for every test: small data that is made once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from testing.checkpoints import save_tiny
from testing.clips import SmallClip, make_small_clip
from testing.hub_server import LoopbackHub

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
def rde_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained RDE-VOS in size ``tiny`` as ONNX graphs for any size; tests must not write into it."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from testing.graphs import export_tiny

    return export_tiny("rde", tmp_path_factory.mktemp("graphs") / "rde")


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    """Eight frames of two moving squares; tests must not write into it."""
    return make_small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright; skips where either is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium; Debian's package is called `chromium`")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A loopback Hub with an empty cache and no token.

    The client reads its settings once, when it is imported, which other packages do early; hence its constants are
    replaced. New processes get them from ``LoopbackHub.environment``.
    """
    from huggingface_hub import constants

    home = tmp_path / "hf-home"
    with LoopbackHub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        url = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits between attempts
        yield server
