"""The videos of a data root that a table is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.errors import DataError, MissingFileError
from vos_zoo.metrics.folders import read_sequence_names

if TYPE_CHECKING:
    from vos_zoo.reproduction.tables import PaperData

STANDARD_RESOLUTION = "480p"
"""Folder of the frames that DAVIS is measured on."""

_META_FILE = "meta.json"


@dataclass(frozen=True)
class RootVideo:
    """One video: folders of frames and of masks with the same names.

    Attributes:
        name: Name.
        frames: Folder of its frames.
        masks: Folder of the masks that are given, of the frames' size.
        annotations: Folder of the masks that results are scored against, and whose size they have; None means
            ``masks``.
    """

    name: str
    frames: Path
    masks: Path
    annotations: Path | None = None


@dataclass(frozen=True)
class VideoSet:
    """Videos in a DAVIS or YouTube-VOS root.

    Attributes:
        videos: The videos, in the order of their list.
        annotations: Folder of the folders of masks.
        name: What the set is called, such as ``val``.
        is_papers: Whether the list is the one that the table names.
        meta: ``meta.json`` of a YouTube-VOS set, or None.
        seen: ``meta.json`` of the training set beside it, or None.
    """

    videos: tuple[RootVideo, ...]
    annotations: Path
    name: str
    is_papers: bool
    meta: Path | None = None
    seen: Path | None = None


def find_videos(
    root: str | Path, data: PaperData, image_set: str | None = None, *, resolution: str = STANDARD_RESOLUTION
) -> VideoSet:
    """Find the videos of a table.

    A DAVIS root has ``JPEGImages/480p``, ``Annotations/480p`` and ``ImageSets``; a YouTube-VOS root has ``valid`` and
    ``train``, each with ``JPEGImages``, ``Annotations`` and ``meta.json``. Frames of another resolution lie beside
    those of ``480p`` and are scored against its annotations, where there are some.

    Args:
        root: The data root.
        data: What the table was measured on.
        image_set: Another list: the name of an image set of the root, a text file of video names, or ``train`` or
            ``valid`` of a YouTube-VOS root. None means the table's own.
        resolution: Folder of frames and masks of a DAVIS root.

    Raises:
        MissingFileError: If there is no such root.
        DataError: If it has neither layout, lacks the list, or lacks a listed video.
        EvaluationError: If a list that was asked for does not exist or is empty.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"There is no data root `{root}`. Give a folder in the layout of DAVIS or YouTube-VOS.")
    base = root
    if not (root / "JPEGImages").is_dir():
        base = root / (image_set if image_set and (root / image_set).is_dir() else _split(data))
    frames, masks = (_of_resolution(base / name, resolution) for name in ("JPEGImages", "Annotations"))
    standard = base / "Annotations" / STANDARD_RESOLUTION
    annotations = standard if standard.is_dir() else masks
    for folder in (frames, masks):
        if not folder.is_dir() and resolution != STANDARD_RESOLUTION:
            raise DataError(
                f"There is no folder `{folder}`, whose frames are asked for. Add the data in that resolution, leave "
                "out the rows that take them with `--rows`, or run those on others with `--resolution 480p`."
            )
        if not folder.is_dir():
            raise DataError(
                f"There is no folder `{folder}`. Expected a DAVIS root with JPEGImages/480p and Annotations/480p, or a "
                f"YouTube-VOS root with {_split(data)}/JPEGImages and {_split(data)}/Annotations. Check the data root."
            )
    names, set_name = _names(root, base, masks, data, image_set)
    for name in names:
        for folder in (frames / name, masks / name):
            if not folder.is_dir():
                raise DataError(
                    f"There is no folder `{folder}`, but {set_name} lists the video {name!r}. Complete the data, or "
                    "name other videos with `--set`."
                )
    meta = base / _META_FILE if data.protocol == "youtube-vos" else None
    seen = root / "train" / _META_FILE
    return VideoSet(
        videos=tuple(RootVideo(name, frames / name, masks / name, annotations / name) for name in names),
        annotations=annotations,
        name=set_name,
        is_papers=image_set is None and data.is_listed,
        meta=meta if meta is not None and meta.is_file() else None,
        seen=seen if meta is not None and seen.is_file() and base != root / "train" else None,
    )


def _names(root: Path, base: Path, masks: Path, data: PaperData, image_set: str | None) -> tuple[list[str], str]:
    """Return the names of the videos and what their list is called."""
    is_split = base != root and (image_set is None or base == root / image_set)
    if is_split or (image_set is None and data.protocol == "youtube-vos" and not (base / "ImageSets").is_dir()):
        return sorted(path.name for path in masks.iterdir() if path.is_dir()), base.name
    if image_set is not None:
        return read_sequence_names(image_set, base)
    listed = base / "ImageSets" / f"{data.image_set}.txt"
    if not listed.is_file():
        lists = sorted(path.relative_to(base / "ImageSets").with_suffix("") for path in base.glob("ImageSets/**/*.txt"))
        has = f"It has the lists {', '.join(map(str, lists))}" if lists else "It has no lists"
        raise DataError(
            f"`{root}` lacks {listed.relative_to(base)}, the videos of {data.title}. {has}. Give the data set, or "
            "measure on other videos with `--set`, a list of the root or a text file of names."
        )
    return read_sequence_names(listed, base)


def _split(data: PaperData) -> str:
    return data.image_set if "/" not in data.image_set else "valid"


def _of_resolution(folder: Path, resolution: str) -> Path:
    found = folder / resolution
    return folder if resolution == STANDARD_RESOLUTION and not found.is_dir() else found
