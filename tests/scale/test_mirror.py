"""What a store holds of a folder that a run writes into, at every moment at which the run may be killed."""

from __future__ import annotations

import time

import pytest

from vos_zoo.errors import StoreError
from vos_zoo.scale import mirror
from vos_zoo.scale.mirror import Mirror


class FakeStore:
    """Remembers what it was sent, in its order; fails as often as ``failures`` says."""

    def __init__(self, failures=0):
        self.files = {}
        self.order = []
        self.failures = failures

    def send(self, files):
        if self.failures:
            self.failures -= 1
            raise StoreError("Store `s3://x` cannot be reached.")
        for name, path in files.items():
            self.files[name] = path.read_text()
            self.order.append(name)

    def write(self, name, text):
        self.files[name] = text
        self.order.append(name)

    def remove(self, name):
        del self.files[name]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "_EVERY", 0.01)
    (tmp_path / "cat").mkdir()
    return tmp_path / "cat"


def write_and_fail(store, folder):
    with Mirror(store, "cat", folder):
        (folder / "00000.png").write_text("mask")
        (folder / "run.json").write_text("1 finished")
        raise KeyError


def until(is_there):
    deadline = time.monotonic() + 60
    while not is_there():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_files_are_there_before_the_run_file_speaks_of_them(folder):
    store = FakeStore()
    with Mirror(store, "cat", folder):
        (folder / "00000.png").write_text("mask")
        (folder / ".00001.png.7.part").write_text("half")
        (folder / "run.json").write_text("1 finished")
        until(lambda: "cat/run.json" in store.files)
        assert store.files == {"cat/00000.png": "mask", "cat/run.json": "1 finished"}
        assert store.order[-1] == "cat/run.json"
    assert store.order == ["cat/00000.png", "cat/run.json"]  # nothing is sent twice


def test_the_end_sends_the_rest_also_of_a_run_that_fails(folder, monkeypatch):
    monkeypatch.setattr(mirror, "_EVERY", 3600)
    store = FakeStore()
    with pytest.raises(KeyError):
        write_and_fail(store, folder)
    assert store.files == {"cat/00000.png": "mask", "cat/run.json": "1 finished"}


def test_what_was_there_is_not_sent_again_and_what_goes_is_removed(folder):
    (folder / ".backward").mkdir()
    (folder / ".backward" / "00000.pass").write_text("kept")
    (folder / "00000.png").write_text("mask")
    store = FakeStore()
    store.files = {"cat/.backward/00000.pass": "kept", "cat/00000.png": "mask"}
    with Mirror(store, "cat", folder):
        (folder / ".backward" / "00000.pass").unlink()
        (folder / "00001.png").write_text("mask")
    assert store.order == ["cat/00001.png"]
    assert sorted(store.files) == ["cat/00000.png", "cat/00001.png"]


def test_a_store_that_is_away_for_a_while_costs_a_warning(folder, caplog):
    store = FakeStore(failures=2)
    with Mirror(store, "cat", folder):
        (folder / "00000.png").write_text("mask")
        until(lambda: store.files)
    assert caplog.text.count("cannot be reached") == 1


def test_a_store_that_stays_away_is_an_error_of_the_video(folder):
    with pytest.raises(StoreError), Mirror(FakeStore(failures=10**9), "cat", folder):
        (folder / "00000.png").write_text("mask")
    with pytest.raises(KeyError):  # which tells more
        write_and_fail(FakeStore(failures=10**9), folder)
