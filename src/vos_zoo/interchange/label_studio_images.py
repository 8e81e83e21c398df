"""The images of Label Studio's export of brush strokes: one per task and stroke, white on black.

Source: names as Label Studio's converter writes them for "Brush labels to PNG",
``task-3-annotation-1-by-1-tag-cat-0``: the task, its annotation, who made it, the name of the control, the label, and
the number of the stroke among those of its label.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.errors import MaskError
from vos_zoo.files import natural_key
from vos_zoo.interchange.annotation import AnnotatedFrame, Annotation, AnnotationFile, Paint
from vos_zoo.media.image_files import DAMAGE, open_image

__all__ = ["is_label_studio_image", "read_label_studio_images"]

TOOL = "Label Studio's PNG export"

_NAME = re.compile(
    r"task-(?P<task>[0-9]+)-annotation-(?P<annotation>[0-9]+)-by-[^-]*-(?P<control>[^-]+)-(?P<label>.+)-(?P<number>[0-9]+)"
)
_OPAQUE = 128  # half-transparent rims belong to a stroke from here on


@dataclass(frozen=True)
class _Stroke:
    """What the name of a file says."""

    file: Path
    task: int
    annotation: int
    control: str
    label: str
    number: int


def is_label_studio_image(stem: str) -> bool:
    """Tell whether a file is named like an image of this export.

    Example:
        >>> is_label_studio_image("task-3-annotation-1-by-1-tag-cat-0"), is_label_studio_image("task-3")
        (True, False)
    """
    return _NAME.fullmatch(stem) is not None


def read_label_studio_images(files: Sequence[Path], path: Path, *, first_number: int | None = None) -> AnnotationFile:
    """Read images of strokes, which are named by tasks: one image of the video each.

    Where a frame has several strokes of one label, every stroke is an object, known over time by its label and number.
    Otherwise labels are the objects.

    Args:
        files: The images, at least one.
        path: The folder that they are in, or the only one.
        first_number: The task of the first frame of the video. None if that is not said; then the only task is that of
            the first frame, since its number is the server's, not the video's.

    Raises:
        MaskError: If a file is named otherwise or is not an image, or a task has several annotations.
    """
    strokes = [_stroke(file) for file in sorted(files, key=lambda file: natural_key(file.name))]
    by_task: defaultdict[int, list[_Stroke]] = defaultdict(list)
    for stroke in strokes:
        by_task[stroke.task].append(stroke)
    is_only = len(by_task) == 1 and first_number is None
    is_numbered = any(stroke.number for stroke in strokes)
    frames = []
    for task, found in sorted(by_task.items()):
        made = sorted({stroke.annotation for stroke in found})
        if len(made) > 1:
            raise MaskError(
                f"`{path}` has {len(made)} annotations of task {task} ({', '.join(map(str, made))}), as several people "
                "make them. Either could be meant; keep the images of one of them."
            )
        annotations = [
            Annotation(
                stroke.label,
                _paint(stroke.file),
                f"Mask `{stroke.file}`",
                track=f"{stroke.control}-{stroke.label}-{stroke.number}" if is_numbered else None,
            )
            for stroke in found
        ]
        frames.append(
            AnnotatedFrame(
                name=None if is_only else f"task-{task}",
                size=_size(found[0].file),
                origin=f"task {task} of `{path}`",
                annotations=tuple(annotations),
            )
        )
    return AnnotationFile(path, frames, TOOL)


def _stroke(file: Path) -> _Stroke:
    match = _NAME.fullmatch(file.stem)
    if match is None:
        raise MaskError(
            f"Mask `{file}` is not named like the images of Label Studio beside it "
            "(task-3-annotation-1-by-1-tag-cat-0.png). Move it into a folder of its own."
        )
    return _Stroke(
        file, int(match["task"]), int(match["annotation"]), match["control"], match["label"], int(match["number"])
    )


def _size(file: Path) -> tuple[int, int]:
    with _opened(file) as image:
        return image.height, image.width


def _paint(file: Path) -> Paint:
    def paint(size: tuple[int, int]) -> NDArray[np.bool_]:
        with _opened(file) as image:
            area: NDArray[np.bool_] = np.asarray(image.convert("L")) >= _OPAQUE
        if area.shape != size:
            raise ValueError(
                f"it is {area.shape[1]}x{area.shape[0]} (width x height), another image of its task {size[1]}x{size[0]}"
            )
        return area

    return paint


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    try:
        with open_image(file) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise MaskError(f"Mask `{file}` is too large: {error}.") from error
    except DAMAGE as error:
        raise MaskError(f"Mask `{file}` cannot be read ({error}). Export the annotations again.") from error
