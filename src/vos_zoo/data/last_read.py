"""The file that each worker read last, so that a run which dies of a file can name it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.sharedctypes import RawArray
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from vos_zoo.errors import DataError, VosZooError

ItemT = TypeVar("ItemT")

_SLOT = 1024  # bytes per worker for its process id and the path
_GRACE = 1.0  # seconds
_place: tuple[Any, int] | None = None  # shared memory and offset of this worker's slot
_last = ""


def note_reading(path: str | os.PathLike[str]) -> None:
    """Remember that this process opens a file now."""
    global _last
    _last = os.fspath(path)
    if _place is not None:
        memory, offset = _place
        text = f"{os.getpid()} {_last}".encode(errors="replace")[: _SLOT - 1]
        memory[offset : offset + len(text) + 1] = text + b"\0"


def last_read() -> str:
    """Path of the file that this process opened last; empty if there was none."""
    return _last


class ReadLog:
    """Shared memory in which workers note what they read; each worker is started with it.

    Args:
        workers: Number of workers.
    """

    def __init__(self, workers: int) -> None:
        self._memory = RawArray("c", max(workers, 1) * _SLOT)

    def __call__(self, worker: int) -> None:
        """Take the slot of a worker, in its process."""
        global _place
        _place = self._memory, worker * _SLOT

    def of_dead_workers(self) -> list[str]:
        """Paths of the files that workers which no longer run opened last."""
        running = {process.pid for process in active_children()}
        found = []
        for start in range(0, len(self._memory), _SLOT):
            note = bytes(self._memory[start : start + _SLOT]).partition(b"\0")[0].decode(errors="replace")
            process, _, path = note.partition(" ")
            if process and int(process) not in running:
                found.append(path)
        return found


class NamingLoader(DataLoader[ItemT]):
    """A data loader that says which file was read when preparing an item fails.

    Args:
        dataset: As for torch's.
        options: Those of torch's data loader, but for ``worker_init_fn``.
    """

    def __init__(self, dataset: Any, **options: Any) -> None:
        workers = options.get("num_workers", 0)
        # Lightning builds a loader anew with the settings it finds on it.
        options.pop("worker_init_fn", None)
        self.read_log = ReadLog(workers)
        super().__init__(dataset, worker_init_fn=self.read_log if workers else None, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its private iterator class
        """Batches.

        Raises:
            DataError: If a worker dies; the message names the file that it read last.
            VosZooError: What preparing an item raised, without the worker's traceback in the message.
        """
        batches = super().__iter__()
        try:
            try:
                yield from batches
            except (EOFError, ConnectionError):
                # The pipe to a worker broke. The kernel tells of its death a little later, and torch raises that, once,
                # wherever this process is then: in here.
                time.sleep(_GRACE)
                raise
        except VosZooError as error:
            # torch puts the worker's traceback in front of the message.
            raise type(error)(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from error
        except (RuntimeError, EOFError, ConnectionError) as error:
            files = self.read_log.of_dead_workers()
            if not files:
                raise
            raise DataError(
                f"A process that prepares clips died ({str(error).partition('. ')[0] or type(error).__name__}). It was "
                f"reading {', '.join(map(repr, files))}. Expected files that can be decoded and enough memory: look at "
                "that file with `vos-zoo data check`, or take fewer processes with `--data.num_workers`."
            ) from error
