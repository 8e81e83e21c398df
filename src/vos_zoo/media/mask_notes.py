"""Messages, logged once, about masks with unusual values."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vos_zoo.media.mask_values import davis_palette, ids_behind_greys

__all__ = ["say_once", "warn_of_palette_greys", "warn_of_void_rims"]

_logger = logging.getLogger(__name__)
_notes_given: set[str] = set()


def warn_of_palette_greys(levels: Sequence[int], name: str) -> None:
    """Say once that ids are the grey levels of the DAVIS palette, as ``cv2.imread(path, 0)`` makes them.

    Args:
        levels: Ids of a mask, without 0.
        name: What the message calls the mask.
    """
    ids = ids_behind_greys(levels, davis_palette()) if levels else None
    if ids is not None:
        shown = ", ".join(f"{level} is that of id {object_id}" for level, object_id in list(ids.items())[:3])
        say_once(
            "palette greys", "%s holds the grey levels of palette colours, as if a palette mask had been read as grey "
            "(cv2.imread(path, 0) does that): %s. They are followed under these values (reported once). "
            "vos_zoo.read_mask reads the ids of a palette mask.", name, shown,
        )  # fmt: skip


def warn_of_void_rims(name: str) -> None:
    """Say once that 255 along the rims of objects is not an object.

    Args:
        name: What the message calls the mask.
    """
    say_once(
        "void rims", "%s has 255 along the rims of objects: taken as no opinion, and as no object (reported once). "
        "`--void none` (void=None) makes it an object.", name,
    )  # fmt: skip


def say_once(key: str, message: str, *arguments: object) -> None:
    """Log a warning the first time that something of its kind is met.

    Args:
        key: The kind.
        message: With places for the arguments.
        *arguments: As for ``logging``.
    """
    if key not in _notes_given:
        _notes_given.add(key)
        _logger.warning(message, *arguments)
