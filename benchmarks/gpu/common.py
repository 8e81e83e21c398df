"""What the steps share: rows that are written as they come, the clock, and the device."""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch

STEPS = ("env", "suite", "parity", "sanitize", "reads", "fps", "long", "share", "train", "loader")
# Two calls of five and a half minutes each: seconds of each step.
CALLS = {
    "A": {"env": 20.0, "suite": 110.0, "parity": 60.0, "sanitize": 35.0, "reads": 90.0},
    "B": {"fps": 110.0, "long": 60.0, "share": 15.0, "train": 115.0, "loader": 25.0},
}
CALL_SECONDS = 330.0
ROOT = Path(__file__).parents[2]
_LEAST_ROUNDS = 5

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the steps, and what lies beside them


class Step(Protocol):
    """A file of this folder."""

    SECONDS: float
    """Time that it may take."""

    @staticmethod
    def measure(run: Run) -> None:
        """Measure and write rows until done, or until the time is over."""


def load_step(name: str) -> Step:
    """Return a step by its name."""
    return cast("Step", importlib.import_module(name))


@dataclass
class Run:
    """One step under way.

    Args:
        step: Its name.
        rows: File that rows are appended to.
        seconds: Time that the step has.
        is_dry: Whether it does the least on a CPU.
        shards: Folder of packed training videos; None makes some.
        start: When its time began, as told by ``time.monotonic``.
    """

    step: str
    rows: Path
    seconds: float
    is_dry: bool = False
    shards: Path | None = None
    start: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        """Where to measure."""
        return torch.device("cpu" if self.is_dry else "cuda")

    @property
    def seconds_left(self) -> float:
        """Seconds that the step still has."""
        return max(0.0, self.seconds - (time.monotonic() - self.start))

    @property
    def is_over(self) -> bool:
        """Whether the time is over; asked before each measurement."""
        return self.seconds_left == 0

    def row(self, **fields: Any) -> None:
        """Append what was measured, and print it."""
        line = {"step": self.step, "time": time.strftime("%Y-%m-%dT%H:%M:%S"), "dry": self.is_dry, **fields}
        self.rows.parent.mkdir(parents=True, exist_ok=True)
        with self.rows.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print("  " + ", ".join(f"{name} {shown(value)}" for name, value in fields.items()), flush=True)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak_bytes(self) -> int | None:
        """Return the most bytes in use since :meth:`reset_peak`; None on a CPU, whose processes cannot reset it."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None

    def reset_peak(self) -> None:
        """Forget the peak so far, of compilation and warm-up for example."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def median_seconds(self, call: Callable[[], object], *, least: float = 0.2) -> float:
        """Time single calls until they took ``least`` seconds together, after one that warms up."""
        call()
        self.synchronize()
        seconds: list[float] = []
        while len(seconds) < _LEAST_ROUNDS or (sum(seconds) < least and not self.is_over):
            begin = time.perf_counter()
            call()
            self.synchronize()
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)


@contextmanager
def compilations() -> Iterator[list[str]]:
    """List the Triton programs that are compiled inside, so that none falls into a timed window unseen."""
    seen: list[str] = []
    try:
        import triton
    except ImportError:
        yield seen
        return
    before = triton.knobs.runtime.jit_post_compile_hook

    def note(*, repr: str, **_: Any) -> None:
        seen.append(repr)

    triton.knobs.runtime.jit_post_compile_hook = note
    try:
        yield seen
    finally:
        triton.knobs.runtime.jit_post_compile_hook = before


def shown(value: Any) -> str:
    """Write a value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
