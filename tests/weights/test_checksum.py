from __future__ import annotations

import hashlib
import os

import pytest

from vos_zoo.weights import checksum
from vos_zoo.weights.checksum import file_sha256, remembered_sha256


@pytest.fixture
def file(tmp_path, monkeypatch):
    """An old file, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * 100)
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def computed(monkeypatch):
    """Which files were read."""
    paths = []

    def counted(path):
        paths.append(path)
        return file_sha256(path)

    monkeypatch.setattr(checksum, "file_sha256", counted)
    return paths


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_the_checksum_is_that_of_all_bytes(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(b"ab" * (size // 2) + b"c" * (size % 2))
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_once(file, computed):
    first = remembered_sha256(file)
    assert remembered_sha256(file) == first == hashlib.sha256(b"x" * 100).hexdigest()
    assert len(computed) == 1


def test_a_changed_file_is_read_again(file, computed):
    remembered_sha256(file)
    file.write_bytes(b"x" * 99 + b"y")
    assert remembered_sha256(file) == hashlib.sha256(b"x" * 99 + b"y").hexdigest()
    assert len(computed) == 2


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the third time is that of creation")
def test_a_change_with_its_time_set_back_shows(file):
    remembered_sha256(file)
    file.write_bytes(b"x" * 99 + b"y")
    os.utime(file, (1e9, 1e9))
    assert remembered_sha256(file) == hashlib.sha256(b"x" * 99 + b"y").hexdigest()


def test_a_file_of_this_moment_is_not_remembered(file, computed):
    file.write_bytes(b"x" * 100)
    remembered_sha256(file)
    remembered_sha256(file)
    assert len(computed) == 2


def test_nothing_is_written_beside_the_file(file):
    remembered_sha256(file)
    assert {path.name for path in file.parent.iterdir()} == {file.name, "cache"}


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"null", b'{"sha256": "0"}', b"\xff"])
def test_a_damaged_note_is_ignored(file, computed, note):
    remembered_sha256(file)
    for path in (file.parent / "cache").rglob("*.json"):
        path.write_bytes(note)
    assert remembered_sha256(file) == hashlib.sha256(b"x" * 100).hexdigest()
    assert len(computed) == 2


def test_a_cache_that_cannot_be_written_is_no_error(file, monkeypatch, computed):
    (file.parent / "occupied").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file.parent / "occupied"))
    assert remembered_sha256(file) == remembered_sha256(file)
    assert len(computed) == 2


def test_a_user_without_home_is_no_error(file, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def nowhere(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(checksum.Path, "expanduser", nowhere)
    assert remembered_sha256(file) == hashlib.sha256(b"x" * 100).hexdigest()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere files have no such rights")
def test_a_note_that_others_can_change_is_not_believed(file, computed):
    remembered_sha256(file)
    (file.parent / "cache" / "vos_zoo").chmod(0o777)
    remembered_sha256(file)
    assert len(computed) == 2
