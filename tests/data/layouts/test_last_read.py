from __future__ import annotations

import gc
import os
import re
import signal
from pathlib import Path
from unittest.mock import Mock

import pytest
from torch.utils.data import DataLoader, Dataset

from vos_zoo.data.clips.dataset import ClipDataset, ClipSettings
from vos_zoo.data.clips.from_videos import VideoClips
from vos_zoo.data.layouts import archives
from vos_zoo.data.layouts import last_read as last_read_module
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.last_read import last_read, note_reading
from vos_zoo.data.modules import loader as loader_module
from vos_zoo.data.modules.loader import NamingLoader
from vos_zoo.errors import DataError


class Files(Dataset[int]):
    """Items that note a file each; one of them does what it is told to."""

    def __init__(self, act=None) -> None:
        self.act = act

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        note_reading(f"frames/{index}.jpg")
        if index == 2 and self.act is not None:
            self.act()
        return index


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise DataError("Image 'x' cannot be decoded. Expected a JPEG.")


# torch raises out of the handler of a signal, wherever the process is then: it may leave a socket or a file open, and
# Hypothesis's callback of the garbage collector may be what it interrupts.
leaves_things_open = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning",
    "ignore:Exception ignored in.*gc_callback:pytest.PytestUnraisableExceptionWarning",
)


def message_of_death(dataset: Dataset[int]) -> str:
    with pytest.raises(DataError) as caught:
        list(NamingLoader(dataset, batch_size=1, num_workers=1))
    message = str(caught.value)
    del caught
    gc.collect()  # what was left open, before the test that allows it ends
    return message


def test_the_last_file_of_this_process():
    note_reading(Path("a") / "b.png")
    assert last_read() == str(Path("a") / "b.png")


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_torchs(workers):
    loader = NamingLoader(Files(), batch_size=2, num_workers=workers)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]
    assert len(loader) == 2


@leaves_things_open
def test_a_worker_that_dies_names_its_file():
    assert re.search(r"died \(.*It was reading 'frames/2\.jpg'", message_of_death(Files(die)))


@leaves_things_open
@pytest.mark.parametrize("broken", [EOFError(), ConnectionResetError(104, "Connection reset by peer")])
def test_a_death_that_the_pipe_tells_first(broken, monkeypatch):
    def fetch(*_):
        yield 0
        raise broken

    loader = NamingLoader(Files(), batch_size=1, num_workers=1)
    monkeypatch.setattr(DataLoader, "__iter__", fetch)
    # What torch's handler of the signal does while the process waits for it.
    monkeypatch.setattr(loader_module.time, "sleep", Mock(side_effect=RuntimeError("DataLoader worker is killed")))
    monkeypatch.setattr(last_read_module, "_place", None)
    loader.read_log(0)
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # larger than any process id: a dead one
    note_reading("frames/2.jpg")
    with pytest.raises(DataError, match=r"died \(DataLoader worker is killed\)\. It was reading 'frames/2\.jpg'"):
        list(loader)


def test_a_broken_pipe_without_a_death_passes(monkeypatch):
    def fetch(*_):
        raise EOFError("elsewhere")
        yield

    monkeypatch.setattr(DataLoader, "__iter__", fetch)
    monkeypatch.setattr(loader_module.time, "sleep", Mock())
    with pytest.raises(EOFError, match="elsewhere"):
        list(NamingLoader(Files(), batch_size=1, num_workers=1))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_reads_like_one_of_ours(workers):
    with pytest.raises(DataError) as caught:
        list(NamingLoader(Files(refuse), batch_size=1, num_workers=workers))
    assert str(caught.value) == "Image 'x' cannot be decoded. Expected a JPEG."


def test_other_runtime_errors_pass():
    def fail():
        raise RuntimeError("no worker")

    with pytest.raises(RuntimeError, match="no worker"):
        list(NamingLoader(Files(fail), batch_size=1))


@leaves_things_open
def test_paths_of_any_length_are_noted():
    class Long(Files):
        def __getitem__(self, index):
            note_reading("x" * 5000 if index == 1 else "short")
            return super().__getitem__(index) if index > 1 else index

    assert "It was reading 'frames/2.jpg'" in message_of_death(Long(die))


def test_whatever_a_library_raises_becomes_an_error_with_the_file(data_root, monkeypatch):
    def explode(*_):
        raise ZeroDivisionError("inside of a library")

    monkeypatch.setattr(archives.cv2, "imdecode", explode)
    dataset = ClipDataset([VideoClips(DavisVideos(data_root / "train", names=["ant"]))], ClipSettings(2, 16, 1))
    with pytest.raises(DataError, match=r"ant/000\d\d\.jpg' \(ZeroDivisionError: inside of a library\)"):
        dataset[0]


def test_reading_leaves_a_note(data_root):
    DavisVideos(data_root / "train", names=["cow"]).read(0, 1)
    assert last_read() == str(data_root / "train/Annotations/480p/cow/00002.png")
