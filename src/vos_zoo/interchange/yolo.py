"""YOLO segmentation: one text file per image, one polygon per line, coordinates as fractions of width and height.

Source: the description of the segmentation data sets of Ultralytics YOLO, and of what its predictions save.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.errors import MaskError
from vos_zoo.files import natural_key
from vos_zoo.interchange.annotation import BOXES, AnnotatedFrame, Annotation, AnnotationFile, Paint
from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame
from vos_zoo.interchange.polygons import fill_polygon, join_outlines, mask_outlines
from vos_zoo.media.frame_matching import frame_stem

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["YoloExporter", "is_yolo", "read_yolo"]

TOOL = "YOLO"

_CLASS_FILES = ("classes.txt", "obj.names", "data.yaml", "dataset.yaml")
_CLASS_LISTS = ("classes.txt", "obj.names", "labels.txt", "train.txt", "val.txt", "test.txt")
_BOX_WORDS = 5  # a class, centre, width and height
_logger = logging.getLogger(__name__)


def is_yolo(path: Path) -> bool:
    """Tell whether a text file looks like one of YOLO: numbers, the first of every line a class."""
    with path.open("rb") as file:
        first = file.readline(1 << 16).split()
    try:
        return len(first) > 4 and int(first[0]) >= 0 and all(float(one) is not None for one in first[1:])
    except ValueError:
        return False


def label_files(folder: Path) -> list[Path]:
    """List the text files of a folder, without lists of classes and images."""
    files = [path for path in folder.iterdir() if path.suffix == ".txt" and path.name not in _CLASS_LISTS]
    return sorted((path for path in files if not path.name.startswith(".")), key=lambda path: natural_key(path.name))


def read_yolo(path: Path) -> AnnotationFile:
    """Read a text file, or all text files of a folder.

    Args:
        path: One file, or their folder.

    Returns:
        A frame for every file that has lines. Class n is object n + 1.

    Raises:
        MaskError: If a line is not a polygon, or only one file of several has ids.
    """
    files = label_files(path) if path.is_dir() else [path]
    folder = path if path.is_dir() else path.parent
    names = _class_names(folder)
    left_out: defaultdict[str, int] = defaultdict(int)
    frames = [_frame(file, names, left_out) for file in files]
    return AnnotationFile(path, [frame for frame in frames if frame.annotations], TOOL, dict(left_out))


def _frame(file: Path, names: dict[int, str], left_out: defaultdict[str, int]) -> AnnotatedFrame:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise MaskError(
            f"`{file}` is not a text file. Expected lines of a class and the corners of a polygon."
        ) from error
    annotations = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) == _BOX_WORDS:
            left_out[BOXES] += 1
        elif words:
            annotations.append(_annotation(words, f"`{file}`, line {number}", names))
    return AnnotatedFrame(name=frame_stem(file.name), origin=f"`{file}`", annotations=tuple(annotations))


def _annotation(words: list[str], where: str, names: dict[int, str]) -> Annotation:
    try:
        kind = int(words[0])
        values = np.array(words[1:], dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise MaskError(
            f"{where} begins with `{' '.join(words[:3])}`. Expected a class, counted from 0, and the corners of a "
            "polygon as fractions of the image."
        ) from error
    if not 0 <= kind < 1_000_000:
        raise MaskError(f"{where} has class {kind}. Classes count from 0.")
    track = None
    if len(values) > 6 and len(values) % 2:
        # Predictions end in a confidence, or in the id of the track.
        track = _track(words[-1])
        values = values[:-1]
    elif len(values) > 6 and values[-1] > 1 and _track(words[-1]) is not None:
        track, values = _track(words[-1]), values[:-2]  # in both
    if len(values) < 6:
        raise MaskError(f"{where} has {len(values)} numbers after the class. A polygon has three corners at least.")
    if not ((values >= 0) & (values <= 1)).all():  # also if one is NaN
        wrong = values[~((values >= 0) & (values <= 1))][0]
        raise MaskError(
            f"{where} has a coordinate {wrong:g}. They are fractions of width and height, from 0 to 1; divide "
            "pixels by the size of the image."
        )
    return Annotation(
        names.get(kind, f"class {kind}"), _paint(values.reshape(-1, 2)), where, track=track, label_number=kind + 1
    )


def _track(word: str) -> int | None:
    return int(word) if word.isdecimal() and int(word[:9]) >= 1 else None


def _paint(fractions: NDArray[np.float64]) -> Paint:
    def paint(size: tuple[int, int]) -> NDArray[np.bool_]:
        return fill_polygon(fractions * (size[1], size[0]), size)

    return paint


def _class_names(folder: Path) -> dict[int, str]:
    """Find the names of classes in or above the folder; none if there is no list."""
    for place in (folder, folder.parent):
        for path in (place / name for name in _CLASS_FILES):
            if path.is_file():
                return _names_in(path)
    return {}


def _names_in(path: Path) -> dict[int, str]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".yaml":
            return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
        names: Any = yaml.safe_load(text)["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        # Texts only: what aliases make of a few lines may be endless when it is written out.
        return {int(key): name for key, name in pairs if isinstance(name, str)}
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError) as error:
        _logger.warning("Names of classes in `%s` cannot be read (%s); classes are called by numbers.", path, error)
        return {}


class YoloExporter(Exporter):
    """Writes a folder: ``labels/NAME.txt`` for every frame, ``classes.txt``, and ``data.yaml``.

    Class n is object n + 1. A line is one polygon, so several parts and holes are joined by lines that are walked to
    and fro; pixels whose centres are inside, by the even-odd rule, are exactly the mask.
    """

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        self._labels = path / "labels"
        self._labels.mkdir(parents=True)

    def write(self, frame: ResultFrame) -> None:
        """Write the file of one frame; it is empty if there is no object."""
        height, width = frame.mask.shape
        lines = []
        for object_id in self.video.objects:
            outlines = mask_outlines(frame.mask == object_id)
            if outlines:
                corners = (join_outlines(outlines) / (width, height)).ravel()
                # Eight digits place a corner within a thousandth of a pixel in images of any size.
                lines.append(" ".join([str(object_id - 1), *(f"{corner:.8g}" for corner in corners)]) + "\n")
        (self._labels / f"{frame.name}.txt").write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        """Write the names of classes."""
        highest = max(self.video.objects, default=0)
        # A name is one line.
        names = [" ".join(self.video.label(one).split()) for one in range(1, highest + 1)]
        (self.path / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        # JSON is YAML, too.
        classes = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
        (self.path / "data.yaml").write_text(
            f"path: .\ntrain: images\nval: images\nnames:\n{classes}", encoding="utf-8"
        )
