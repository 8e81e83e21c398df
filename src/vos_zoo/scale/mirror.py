"""Sending a folder to a store while a run writes into it, so that another machine can go on with it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol

from vos_zoo.errors import StoreError
from vos_zoo.run_file import RUN_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["Mirror", "Target"]

_EVERY = 1.0  # seconds; a killed run loses what it finished since the last round
_logger = logging.getLogger(__name__)


class Target(Protocol):
    """What a mirror asks of a store."""

    def send(self, files: Mapping[str, Path]) -> None:
        """Send files to their names."""

    def write(self, name: str, text: str) -> None:
        """Write a small file whole."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


class Mirror:
    """Keeps a folder of a store like one on the disk, as long as the block lasts.

    A thread sends what is new every second, and the end of the block, also by an error, sends the rest. The run file,
    which says how much is finished, is read before everything else and sent after it: it never speaks of masks that are
    not in the store. A store that cannot be reached for a while costs a warning; at the end, it is an error.

    Args:
        store: Where to.
        name: The folder in the store.
        folder: The folder on the disk; what it holds at the beginning is in the store already.

    Raises:
        StoreError: If the store cannot be reached at the end of the block.
    """

    def __init__(self, store: Target, name: str, folder: Path) -> None:
        self._store = store
        self._name = name
        self._folder = folder
        self._sent = self._look()
        self._note = self._read_note()
        self._is_said = False  # that the store cannot be reached
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="mirror", daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        try:
            self._send()
        except StoreError as obstacle:
            if error is None:
                raise
            _logger.warning("%s", obstacle)  # the run's own error tells more

    def _keep(self) -> None:
        while not self._is_over.wait(_EVERY):
            self._try_to_send()

    def _try_to_send(self) -> None:
        try:
            self._send()
        except FileNotFoundError:
            pass  # a file that the run has removed meanwhile; the next round sees it
        except StoreError as obstacle:
            if not self._is_said:
                _logger.warning("%s", obstacle)
            self._is_said = True

    def _send(self) -> None:
        note, there = self._read_note(), self._look()
        new = [name for name, state in there.items() if self._sent.get(name) != state]
        self._store.send({f"{self._name}/{name}": self._folder / name for name in new})
        for name in self._sent.keys() - there.keys():
            self._store.remove(f"{self._name}/{name}")
        self._sent = there
        if note is not None and note != self._note:
            self._store.write(f"{self._name}/{RUN_FILE}", note)
            self._note = note

    def _look(self) -> dict[str, tuple[int, int]]:
        """List the files that count, with what changes when they do; locks and halves of files are hidden."""
        found = {}
        for path in self._folder.rglob("*"):
            if path.name.startswith(".") or path == self._folder / RUN_FILE or not path.is_file():
                continue
            status = path.stat()
            found[path.relative_to(self._folder).as_posix()] = (status.st_mtime_ns, status.st_size)
        return found

    def _read_note(self) -> str | None:
        path = self._folder / RUN_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else None
