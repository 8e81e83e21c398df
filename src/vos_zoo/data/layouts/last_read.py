"""The file that each worker read last, so that a run which dies of a file can name it."""

from __future__ import annotations

import os
from multiprocessing import active_children
from multiprocessing.sharedctypes import RawArray
from typing import Any

_SLOT = 1024  # bytes per worker for its process id and the path
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
