"""Stores: a disk and a bucket keep the same promises; the bucket is a server on this machine."""

from __future__ import annotations

import sys

import pytest

from vos_zoo.errors import MissingExtraError, MissingFileError, StoreError
from vos_zoo.scale.stores import LocalStore, fetch, is_remote, open_store


@pytest.fixture(params=["disk", "bucket"])
def store(request, tmp_path):
    return open_store(tmp_path / "store" if request.param == "disk" else request.getfixturevalue("bucket"))


def test_small_files_are_written_read_listed_and_removed(store):
    assert store.read_text("a.txt") is None
    assert list(store.names("notes")) == []
    store.write("notes/a.1", "ä\n")
    store.write("notes/b.2", "b")
    assert store.read_text("notes/a.1") == "ä\n"
    assert sorted(store.names("notes")) == ["a.1", "b.2"]
    store.remove("notes/a.1")
    store.remove("notes/a.1")
    assert list(store.names("notes")) == ["b.2"]
    with store.open("notes/b.2", "rb") as file:
        assert file.read() == b"b"
    with pytest.raises(MissingFileError):
        store.open("notes/c.3", "rb")


def test_a_folder_of_results_goes_on_where_it_was_left(store, tmp_path):
    with store.folder("cat", tmp_path / "first", brings=True) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "00000.png").write_bytes(b"mask")
        (folder / "run.json").write_text("{}")
    assert sorted(store.names("cat")) == ["00000.png", "run.json"]
    with store.folder("cat", tmp_path / "second", brings=True) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "run.json"]
        (folder / "00001.png").write_bytes(b"mask")
    assert sorted(store.names("cat")) == ["00000.png", "00001.png", "run.json"]


def test_what_lies_in_a_bucket_is_signed_or_copied(bucket, tmp_path):
    import fsspec

    files = fsspec.filesystem("s3")
    files.pipe_file(f"{bucket}/clips/cat.mp4", b"film")
    files.pipe_file(f"{bucket}/clips/cat.png", b"mask")
    files.pipe_file(f"{bucket}/frames/dog/0.png", b"frame")
    assert fetch(f"{bucket}/clips/cat.mp4", tmp_path).startswith("http://127.0.0.1")
    copy = fetch(f"{bucket}/clips/cat.mp4", tmp_path / "again", is_repeatable=True)
    assert (copy, copy.origin) == (str(tmp_path / "again" / "cat.mp4"), f"{bucket}/clips/cat.mp4")
    mask = fetch(f"{bucket}/clips/cat.png", tmp_path / "new")
    assert mask == str(tmp_path / "new" / "cat.png")
    assert (tmp_path / "new" / "cat.png").read_bytes() == b"mask"
    assert fetch(f"{bucket}/frames/dog", tmp_path) == str(tmp_path / "dog")
    assert (tmp_path / "dog" / "0.png").read_bytes() == b"frame"
    with pytest.raises(MissingFileError, match=r"nothing at `s3://clips-of-tests/clips/none\.mp4`"):
        fetch(f"{bucket}/clips/none.mp4", tmp_path)


@pytest.mark.parametrize("place", ["clips/cat.mp4", "https://example.org/cat.mp4", "rtsp://camera/1"])
def test_what_readers_open_themselves_stays_as_it_is(place, tmp_path):
    assert fetch(place, tmp_path) == place


def test_addresses_of_files_are_paths(tmp_path):
    assert is_remote(f"file://{tmp_path}")
    assert fetch(f"file://{tmp_path}/cat.mp4", tmp_path) == f"{tmp_path}/cat.mp4"
    store = open_store(f"file://{tmp_path}")
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path


def test_a_store_that_cannot_be_reached_is_named(bucket, monkeypatch):
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"Store `s3://clips-of-tests` cannot be reached or refuses"):
        list(open_store("s3://clips-of-tests").names("notes"))


def test_unknown_stores_and_missing_packages_are_named(monkeypatch):
    pytest.importorskip("fsspec")
    with pytest.raises(StoreError, match="no store that fsspec knows"):
        open_store("floppy://disk/a")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vos-zoo\[cluster\]'"):
        open_store("gs://bucket")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match="needs fsspec"):
        open_store("s3://bucket")
