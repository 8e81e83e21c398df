"""Which precision is fastest for a network on this machine: measured once, then remembered.

What was measured is noted in the user's cache folder, one small file for each network and machine. A note holds for the
version of this package and of PyTorch that measured, for the number of threads, and for the shapes of the weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
import statistics
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
import torch

from vos_zoo.cache import private_cache_folder
from vos_zoo.devices import computes_in
from vos_zoo.files import atomic_path, parse_json
from vos_zoo.version import __version__
from vos_zoo.waiting import announced

from .arithmetic import Precision, half_type
from .cuda_graphs import CALLS_BEFORE_REPLAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vos_zoo.network import VOSNetwork

__all__ = ["candidates", "choose_precision"]

_WARM_UP = 2  # frames of each precision that are not counted: the first read of the memory, first calls of kernels
_COUNTED = 3  # frames of each precision
_GAIN = 0.9  # share of the time below which a coarser precision is worth it; less is noise
_WIDE = 16 / 9  # sides of the frames that are measured

_logger = logging.getLogger(__name__)


def candidates(device: torch.device) -> tuple[Precision, ...]:
    """Return the precisions that a device computes in by itself, the most exact first."""
    every: tuple[Precision, ...] = get_args(Precision)
    return tuple(
        name
        for name in every
        if (name != "tf32" or device.type == "cuda")
        and ((dtype := half_type(name)) is None or computes_in(dtype, device))
    )


class Stepping(Protocol):
    """What is timed: a session, see :class:`~vos_zoo.inference.session.VideoSession`."""

    def step(self, frame: NDArray[np.uint8], mask: NDArray[np.uint8] | None = None, /) -> Any:
        """Segment the next frame, RGB of shape (H, W, 3), with ids of shape (H, W) for the first."""


def choose_precision(
    network: VOSNetwork[Any, Any],
    device: torch.device,
    start: Callable[..., Stepping],
    *,
    graphs: bool = True,
    timer: Callable[[], float] = time.perf_counter,
) -> Precision:
    """Return the fastest precision for a network on a device; of nearly equal ones the most exact.

    The first call runs a session in each precision over a few frames of noise with one object, at the size that the
    network was made for, which takes seconds on a CPU. Later calls, of other processes too, find the answer in the
    cache. On a CUDA device, frames are timed once their CUDA graphs are replayed, and all sessions exist at once.

    Sessions that compile their network are timed without compiling it: that takes minutes for each precision.

    Args:
        network: In float32; it stays as it is.
        device: Where it will run.
        start: Starts a session of the network on the device in a ``precision``.
        graphs: Whether it uses CUDA graphs where it can.
        timer: Clock to measure with, in seconds.

    Returns:
        A name for the session's ``precision``, the one measured or remembered.
    """
    names = candidates(device)
    if len(names) == 1:
        return names[0]
    graphs = graphs and device.type == "cuda"
    facts = _facts(network, device) | {"graphs": graphs}
    folder = private_cache_folder("precision")
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    note = None if folder is None else folder / f"{key}.json"
    known = _read_note(note, facts, names)
    if known is not None:
        return known
    with announced(_logger, "Measuring which precision is fastest on this machine, once"):
        sessions = {name: start(precision=name) for name in names}
        seconds = _measure(sessions, _sides(network), CALLS_BEFORE_REPLAY if graphs else _WARM_UP, timer)
    chosen = names[0]
    for name in names[1:]:
        if seconds[name] < _GAIN * seconds[chosen]:
            chosen = name
    shown = ", ".join(f"{1000 * taken:.0f} ms in {name}" for name, taken in seconds.items())
    _logger.info("Chose precision %s for this model on this machine (one frame took %s).", chosen, shown)
    _write_note(note, {"facts": facts, "precision": chosen, "seconds": seconds})
    return chosen


def _sides(network: VOSNetwork[Any, Any]) -> tuple[int, int]:
    """Return the size of wide frames that a network was made for, as multiples of its stride."""
    size = network.working_size
    height, width = size if isinstance(size, tuple) else (size, round(size * _WIDE))
    return -(-height // network.stride) * network.stride, -(-width // network.stride) * network.stride


def _measure(
    sessions: dict[Precision, Stepping], sides: tuple[int, int], warm_up: int, timer: Callable[[], float]
) -> dict[Precision, float]:
    """Return the median time of a frame in each session, in turn, so that the machine's load meets all of them."""
    height, width = sides
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros(sides, np.uint8)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 1
    for session in sessions.values():
        session.step(frame, mask)
    taken: dict[Precision, list[float]] = {name: [] for name in sessions}
    for _ in range(warm_up + _COUNTED):
        for name, session in sessions.items():
            begin = timer()
            session.step(frame)  # which waits for the device
            taken[name].append(timer() - begin)
    return {name: statistics.median(all_taken[warm_up:]) for name, all_taken in taken.items()}


def _facts(network: VOSNetwork[Any, Any], device: torch.device) -> dict[str, str | int]:
    """Return all that a measurement depends on."""
    # Normalisations and biases are left out: a network that was rearranged already is still the same one.
    shapes = [(name, tuple(part.shape)) for name, part in network.named_parameters() if part.ndim > 1]
    kind = type(network)
    return {
        "network": f"{kind.__module__}.{kind.__qualname__}",
        "shapes": hashlib.sha256(repr(shapes).encode()).hexdigest(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {_processor()}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "vos_zoo": __version__,
    }


@cache
def _processor() -> str:
    with contextlib.suppress(OSError):  # elsewhere than on Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _read_note(note: Path | None, facts: dict[str, str | int], names: tuple[Precision, ...]) -> Precision | None:
    if note is None:
        return None
    try:
        known = parse_json(note.read_text(encoding="utf-8"))
        noted, precision = known["facts"], known["precision"]
    except (OSError, ValueError, KeyError, TypeError):  # no note, or one that is not a note of ours
        return None
    return next((name for name in names if name == precision), None) if noted == facts else None


def _write_note(note: Path | None, content: dict[str, Any]) -> None:
    if note is None:
        return
    try:
        with atomic_path(note) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:  # a read-only home or a full disk: it is measured again the next time
        _logger.debug("Could not note the precision in %s: %s", note, error)
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
