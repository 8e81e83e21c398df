"""Videos that could not be segmented, noted beside the results of the others."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from vos_zoo.files import atomic_path, file_lock, parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FAILURES_FILE", "Failure", "forget_failure", "note_failure", "read_failures"]

FAILURES_FILE = "failures.jsonl"
"""One JSON object a line: what failed, and why."""

_LOCK = f".{FAILURES_FILE}.lock"
_PATIENCE = 60.0  # seconds for another process to write its line


@dataclasses.dataclass(frozen=True)
class Failure:
    """One video that could not be segmented.

    Attributes:
        video: Its name, unlike those of the others.
        error: Class of the error.
        message: What was found, what was expected, what to do.
        row: Line or entry of the list of videos that named it, from 1; None without such a list.
    """

    video: str
    error: str
    message: str
    row: int | None = None


def note_failure(folder: Path, failure: Failure) -> None:
    """Add a failure to the file in a folder; several processes may do so.

    Raises:
        OSError: If it cannot be written.
    """
    path = folder / FAILURES_FILE
    with file_lock(folder / _LOCK, what=path, wait=_PATIENCE), path.open("a", encoding="utf-8") as file:
        file.write(_line(failure))


def read_failures(folder: Path) -> dict[str, Failure]:
    """Read the failures noted in a folder, the last one of each video; lines that a killed process cut are left out."""
    found: dict[str, Failure] = {}
    path = folder / FAILURES_FILE
    if not path.is_file():
        return found
    names = {field.name for field in dataclasses.fields(Failure)}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content: Any = parse_json(line)
            failure = Failure(**{name: value for name, value in content.items() if name in names})
        except (ValueError, TypeError, AttributeError):
            continue
        found.pop(failure.video, None)
        found[failure.video] = failure
    return found


def forget_failure(folder: Path, video: str) -> None:
    """Drop the failures of a video that is finished by now.

    Args:
        folder: Folder of the results.
        video: Its name.

    Raises:
        OSError: If the file cannot be written.
    """
    path = folder / FAILURES_FILE
    if video not in read_failures(folder):
        return
    with file_lock(folder / _LOCK, what=path, wait=_PATIENCE):
        _write(path, [failure for failure in read_failures(folder).values() if failure.video != video])


def _write(path: Path, failures: Sequence[Failure]) -> None:
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, failures))


def _line(failure: Failure) -> str:
    return json.dumps({key: value for key, value in dataclasses.asdict(failure).items() if value is not None}) + "\n"
