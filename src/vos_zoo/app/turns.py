"""Taking turns: one visitor's objects are tracked at a time, the others wait in line."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from vos_zoo.errors import LimitError

__all__ = ["Turn", "Turns"]


class Turn:
    """A place in the line; made by :meth:`Turns.take`."""

    def __init__(self, turns: Turns, job: Callable[[], None]) -> None:
        self._turns = turns
        self._job = job

    @property
    def ahead(self) -> int:
        """How many others come first; 0 once the job runs or has ended."""
        return self._turns._ahead(self)

    def leave(self) -> bool:
        """Leave the line.

        Returns:
            Whether the job will never run; False if it runs or has ended.
        """
        return self._turns._leave(self)


class Turns:
    """Does one job after another, first come, first served, in a thread that stays.

    PyTorch keeps threads and memory for every thread that calls it, so a new one for every job would take more and
    more of both. It is a daemon: a server that is ended does not wait for it.

    Args:
        waiting: How many may wait while one job runs.
    """

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._line: deque[Turn] = deque()  # the first one runs
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self, job: Callable[[], None]) -> Turn:
        """Queue a job, which must not raise.

        Raises:
            LimitError: If too many wait already.
        """
        with self._changed:
            if len(self._line) > self._waiting:
                raise LimitError(
                    f"The server tracks for one visitor at a time, and all places in the line are taken "
                    f"({self._waiting}). Try again in some minutes."
                )
            turn = Turn(self, job)
            self._line.append(turn)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
                self._thread.start()
            self._changed.notify()
            return turn

    def _ahead(self, turn: Turn) -> int:
        with self._changed:
            return self._line.index(turn) if turn in self._line else 0

    def _leave(self, turn: Turn) -> bool:
        with self._changed:
            if turn not in self._line or turn is self._line[0]:
                return False
            self._line.remove(turn)
            return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._line:
                    self._changed.wait()
                turn = self._line[0]
            turn._job()
            with self._changed:
                self._line.popleft()
