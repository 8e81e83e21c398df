from __future__ import annotations

import os
from pathlib import Path

import pytest

from vos_zoo.cache import cache_folder, is_private, private_cache_folder


def test_follows_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder("native") == Path("/somewhere/vos_zoo/native")


@pytest.mark.parametrize("variable", [None, ""])
def test_lies_at_home_without_it(variable: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    if variable is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("native") == tmp_path / ".cache" / "vos_zoo" / "native"


def test_there_is_none_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert cache_folder("native") is None


@pytest.mark.parametrize("variable", ["cache", "./cache", "../cache"])
def test_a_relative_folder_is_ignored(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("native") == tmp_path / ".cache" / "vos_zoo" / "native"


def test_a_private_folder_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert private_cache_folder("native") == tmp_path / "new" / "vos_zoo" / "native"
    assert is_private(tmp_path / "new" / "vos_zoo" / "native")


@pytest.mark.skipif(os.name != "posix", reason="elsewhere files have no such rights")
def test_a_folder_of_others_is_named_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "vos_zoo").mkdir()
    (tmp_path / "vos_zoo").chmod(0o777)
    assert private_cache_folder("native") is None
    assert private_cache_folder("checksums") is None
    assert caplog.text.count(f"{tmp_path / 'vos_zoo'} is not used as a cache") == 1


def test_a_place_that_cannot_be_made_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert private_cache_folder("native") is None
