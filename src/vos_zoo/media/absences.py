"""Which objects a user says to be invisible in a frame, without ending their tracks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.errors import MaskError, UsageError
from vos_zoo.files import parse_json
from vos_zoo.media.frame_names import FrameNames

__all__ = ["ABSENT_FILE", "AbsentObjects", "name_absences", "read_absences"]

ABSENT_FILE = "absent.json"
"""The file in a folder of masks that lists absences: ``{"00012": [3], "00040": [1, 3]}``."""

AbsentObjects = Mapping[Any, Any]
"""Ids by frame, ``{frame number or name: ids}``; a single id needs no list."""


def name_absences(absent: AbsentObjects, names: FrameNames) -> dict[str, frozenset[int]]:
    """Give absences the names of their frames.

    Args:
        absent: Ids by frame.
        names: Names of all frames of the video.

    Raises:
        MaskError: If there is no such frame, or 0 (background) is declared absent.
        UsageError: If it is not a mapping, or holds something else than ids.

    Example:
        >>> name_absences({1: 3, "0": [4, 5]}, FrameNames(["00000", "00001"]))
        {'00001': frozenset({3}), '00000': frozenset({4, 5})}
    """
    if not isinstance(absent, Mapping):
        raise UsageError(f"absent is a {type(absent).__name__}. Expected ids by frame, such as {{12: [3]}}.")
    named: dict[str, frozenset[int]] = {}
    for key, ids in absent.items():
        name = names.find_key(key, "An absence")
        named[name] = named.get(name, frozenset()) | _ids(ids, f"The absence of frame {key!r}")
    return {name: ids for name, ids in named.items() if ids}


def read_absences(path: Path, names: FrameNames) -> dict[str, frozenset[int]]:
    """Read a file of absences.

    Args:
        path: JSON: an object that holds a list of ids for each frame's name.
        names: Names of all frames of the video.

    Raises:
        MaskError: If it is no such file, or there is no frame of such a name.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}")
        return name_absences(content, names)
    except (MaskError, UsageError) as error:
        raise MaskError(f"`{path}`: {error}") from error
    except (ValueError, OSError) as error:
        raise MaskError(
            f"`{path}` cannot be read as a list of absent objects ({error}). Expected JSON such as "
            '{"00012": [3], "00040": [1, 3]}: for each frame, by its name, the ids of objects that it does not show.'
        ) from error


def _ids(ids: Any, what: str) -> frozenset[int]:
    if isinstance(ids, (int, np.integer)) and not isinstance(ids, bool):
        ids = [ids]
    if isinstance(ids, (str, bytes, Mapping)) or not isinstance(ids, Iterable):
        raise UsageError(f"{what} is {ids!r}. Expected an object id or several, such as [3].")
    found = list(ids)
    for object_id in found:
        if not isinstance(object_id, (int, np.integer)) or isinstance(object_id, bool):
            raise UsageError(f"{what} holds {object_id!r}. Expected object ids, such as [3].")
        if object_id == 0:
            raise MaskError(f"{what} holds 0, which is background. Expected ids of objects.")
    return frozenset(int(object_id) for object_id in found)
