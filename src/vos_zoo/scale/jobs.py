"""One video of many: what is read, what is written, and how it is told from a job with other settings."""

from __future__ import annotations

import argparse
import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from vos_zoo.texts import byte_count, frame_size, levels, truth, void_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["OPTIONS", "Job", "digest_of", "read_option"]


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; write it like 120") from None


def _direction(text: str) -> str:
    if text not in ("forward", "backward", "both"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a direction; write forward, backward or both")
    return text


#: What a row may say about its own video, and how it is read; names are those of ``vos_zoo.segment_video``.
OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "start": _count,
    "end": _count,
    "every": _count,
    "direction": _direction,
    "size": frame_size,
    "levels": levels,
    "void": void_value,
    "resize_mask": truth,
    "overlay": truth,
    "memory_budget": byte_count,
}


class Job(NamedTuple):
    """One video to segment.

    Attributes:
        row: Its place in the list of videos, from 1.
        name: Name of its results, unlike that of all others.
        video: File, folder or address of its frames.
        masks: File or folder of the given masks; empty if there are prompts instead.
        options: Settings of its own, by name; see ``OPTIONS``.
        length: Frames or bytes, roughly; what orders jobs.
        prompts: JSON file of prompts; empty if there are none.
    """

    row: int
    name: str
    video: str
    masks: str
    options: Mapping[str, Any]
    length: int = 0
    prompts: str = ""


def read_option(name: str, value: Any) -> Any:
    """Read an option of a row, as text or as JSON has it.

    Args:
        name: One of ``OPTIONS``.
        value: A text, number, truth, or list of two numbers.

    Raises:
        argparse.ArgumentTypeError: If it is no such value.

    Example:
        >>> read_option("size", [256, 448]), read_option("size", "480"), read_option("overlay", True)
        ((256, 448), 480, True)
    """
    if isinstance(value, (list, tuple)):
        value = (":" if name == "levels" else "x").join(map(str, value))
    return OPTIONS[name](str(value))


def digest_of(job: Job, settings: Mapping[str, Any]) -> str:
    """Return a short name to all that the results of a job depend on.

    Args:
        job: The job.
        settings: Settings of the run, as JSON data.
    """
    content = [job.video, job.masks, job.prompts, sorted(job.options.items()), sorted(settings.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
