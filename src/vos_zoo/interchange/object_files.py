"""Masks that hold one object per file: a folder for every object, or the object in the name."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vos_zoo.errors import MaskError
from vos_zoo.files import natural_key
from vos_zoo.interchange.annotation import GivenFrame
from vos_zoo.interchange.object_ids import id_in_name
from vos_zoo.media.frame_matching import frame_stem
from vos_zoo.media.frame_names import some_names
from vos_zoo.media.mask_decoding import decode_mask
from vos_zoo.media.masks import mask_files

if TYPE_CHECKING:
    from vos_zoo.media.mask_decoding import Mask

__all__ = ["object_folders", "object_in_name", "read_object_files", "read_object_folders"]

_OBJECT_LAST = re.compile(r"(?P<frame>.+)[_-](?:obj|object|id)[_-]?(?P<id>[0-9]+)", re.IGNORECASE)
_OBJECT_FIRST = re.compile(r"(?:obj|object|id)[_-]?(?P<id>[0-9]+)[_-](?P<frame>.+)", re.IGNORECASE)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _ObjectsFrame(GivenFrame):
    """Files of one frame, by the ids of their objects, and ids whose overlap has been said."""

    files: dict[int, Path]
    told: set[int]

    def ids(self, size: tuple[int, int]) -> Mask:
        mask: Mask | None = None
        for object_id, path in sorted(self.files.items()):
            area = decode_mask(path).ids
            values = np.unique(area[area != 0])
            if len(values) > 1:
                raise MaskError(
                    f"Mask `{path}` holds the values {some_names([str(value) for value in values])}. One object "
                    "per file was expected: 0, and one other value. If these are ids of several objects, say "
                    "format='ids' (`--mask-format ids`)."
                )
            if mask is None:
                mask = np.zeros(area.shape, np.uint8 if max(self.files) <= 255 else np.int32)
            if area.shape != mask.shape:
                raise MaskError(
                    f"Mask `{path}` is {area.shape[1]}x{area.shape[0]} (width x height), that of another object of the "
                    f"same frame {mask.shape[1]}x{mask.shape[0]}. Save all masks in the size of the frame."
                )
            shared = np.count_nonzero(mask[area != 0])
            if shared and object_id not in self.told:
                self.told.add(object_id)
                _logger.info(
                    "%s: %d pixels are in several masks; they are taken as object %d, the highest id (reported once).",
                    self.origin, shared, object_id,
                )  # fmt: skip
            mask[area != 0] = object_id
        if mask is None:
            raise MaskError(f"{self.origin} has no files.")
        return mask


def object_in_name(stem: str) -> tuple[str, int] | None:
    """Split a name such as "00000_obj2" or "object-2_00000" into the frame's and the object's; None if it is no such.

    Example:
        >>> object_in_name("00000_obj2"), object_in_name("object-02_frame_7"), object_in_name("00000_2")
        (('00000', 2), ('frame_7', 2), None)
    """
    match = _OBJECT_LAST.fullmatch(stem) or _OBJECT_FIRST.fullmatch(stem)
    return (match["frame"], int(match["id"][-9:])) if match else None


def read_object_files(files: Sequence[Path]) -> tuple[list[GivenFrame], dict[int, str]]:
    """Read files whose names say their frame and their object.

    Args:
        files: The images.

    Returns:
        A frame for every name of one, and what every object is, by its id.

    Raises:
        MaskError: If a name says no object, or two files have one frame and object.
    """
    frames: defaultdict[str, dict[int, Path]] = defaultdict(dict)
    for file in files:
        found = object_in_name(frame_stem(file.name))
        if found is None or found[1] < 1:
            raise MaskError(f"Mask `{file}` names no object. Expected names such as 00000_obj1.png, ids from 1 on.")
        _add(frames[found[0]], found[1], file)
    return _frames(frames)


def read_object_folders(folder: Path) -> tuple[list[GivenFrame], dict[int, str]]:
    """Read a folder that holds a folder for every object.

    Folders whose names are ids ("3", "object 3") have them; otherwise they are numbered in the order of their names.

    Args:
        folder: The folder of folders.

    Returns:
        A frame for every name of a file, and what every object is, by its id.

    Raises:
        MaskError: If a folder has no masks.
    """
    folders = object_folders(folder)
    stated = [id_in_name(one.name) for one in folders]
    is_stated = None not in stated and len(set(stated)) == len(stated)
    frames: defaultdict[str, dict[int, Path]] = defaultdict(dict)
    table = {}
    for place, one in enumerate(folders, start=1):
        object_id = (stated[place - 1] or place) if is_stated else place
        table[object_id] = f"folder `{one.name}`"
        for file in mask_files(one):
            _add(frames[frame_stem(file.name)], object_id, file)
    return _frames(frames)[0], table


def object_folders(folder: Path) -> list[Path]:
    """List the folders in a folder, in the order of their names."""
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(inside, key=lambda path: natural_key(path.name))


def _add(files: dict[int, Path], object_id: int, file: Path) -> None:
    if object_id in files:
        raise MaskError(
            f"Object {object_id} has two masks of one frame, `{files[object_id]}` and `{file}`. Remove one."
        )
    files[object_id] = file


def _frames(frames: dict[str, dict[int, Path]]) -> tuple[list[GivenFrame], dict[int, str]]:
    objects = sorted({object_id for files in frames.values() for object_id in files})
    told: set[int] = set()
    found: list[GivenFrame] = []
    for name, files in frames.items():
        others = f" and {len(files) - 1} more of its frame" if len(files) > 1 else ""
        found.append(
            _ObjectsFrame(name=name, origin=f"mask `{next(iter(files.values()))}`{others}", files=files, told=told)
        )
    return found, dict.fromkeys(objects, "files of their own")
