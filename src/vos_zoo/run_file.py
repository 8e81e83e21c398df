"""What a run that can be resumed writes down beside its results: the settings it began with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vos_zoo.files import parse_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RUN_FILE", "changed_settings"]

RUN_FILE = "run.json"
"""Settings of the run; a later run in the same folder must have the same."""


def changed_settings(run_file: Path, settings: dict[str, Any]) -> list[str]:
    """Say which settings differ from those that a run began with.

    Args:
        run_file: File of the earlier run, which exists.
        settings: Settings of this run.

    Returns:
        One phrase per setting, with both values; nothing if all are the same.

    Raises:
        ValueError: If the file is damaged; the message says how.
    """
    try:
        earlier = parse_json(run_file.read_text(encoding="utf-8"))["settings"]
        return [
            f"{key} {earlier.get(key)!r}, now {value!r}" for key, value in settings.items() if earlier.get(key) != value
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(repr(error)) from error
