"""What a file of an annotation tool says, before it is matched to a video: frames, and areas of objects in them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vos_zoo.interchange.polygons import fill_polygon

if TYPE_CHECKING:
    from vos_zoo.media.mask_decoding import Mask

__all__ = [
    "BOXES",
    "AnnotatedFrame",
    "Annotation",
    "AnnotationFile",
    "FileFrame",
    "GivenFrame",
    "Paint",
    "paint_polygons",
]

BOXES = "boxes, which do not say which pixels belong to an object"
"""What messages call boxes that are left out."""

Paint = Callable[[tuple[int, int]], NDArray[np.bool_]]
"""Paints an area: takes the size (H, W) of the frame, gives what belongs to it. It raises ValueError, with a clause as
its message, if the area does not fit."""


@dataclass(frozen=True)
class Annotation:
    """One area of one object in one frame.

    Attributes:
        label: The class or name that was chosen in the tool; empty if there is none.
        paint: Paints the area.
        where: What messages call it.
        track: What the tool knows the object by over time; None if it does not. Areas of one track in one frame belong
            together.
        label_number: The id that an object has if it is known by its label; None if the label decides.
        z: Areas with higher values lie over others; among equals, later ones do.
    """

    label: str
    paint: Paint
    where: str
    track: int | str | None = None
    label_number: int | None = None
    z: int = 0


@dataclass(frozen=True, kw_only=True)
class FileFrame:
    """What a file says about a frame that something is given for.

    Attributes:
        name: Name of its image without folder and ending; None if the format only counts frames.
        number: Its position in the video from 0, where the format says it.
        size: (H, W) that the file declares; None if it does not.
        origin: What messages call it, such as "image `00000.jpg` of `a.json`".
    """

    name: str | None = None
    number: int | None = None
    size: tuple[int, int] | None = None
    origin: str


@dataclass(frozen=True, kw_only=True)
class GivenFrame(FileFrame, abc.ABC):
    """A frame whose mask can be made."""

    @abc.abstractmethod
    def ids(self, size: tuple[int, int]) -> Mask:
        """Make the mask.

        Args:
            size: (H, W) of the video's frames.

        Returns:
            Object ids, in the size that the file has, or in ``size`` if it has none.

        Raises:
            MaskError: If what is there makes no mask.
        """


@dataclass(frozen=True, kw_only=True)
class AnnotatedFrame(FileFrame):
    """A frame of an annotation file, whose objects have no ids yet.

    Attributes:
        annotations: Areas, in the order of the file.
        outside: Tracks that are declared absent here.
    """

    annotations: tuple[Annotation, ...]
    outside: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class AnnotationFile:
    """What an annotation file says.

    Attributes:
        path: The file or folder.
        frames: Frames with annotations, at least one.
        tool: Name of the format, for messages.
        left_out: What was in the file and is not a mask, with the reason and the number of times.
    """

    path: Path
    frames: Sequence[AnnotatedFrame]
    tool: str
    left_out: dict[str, int] = field(default_factory=dict)


def paint_polygons(polygons: Sequence[NDArray[np.float64]]) -> Paint:
    """Paint what is in any of several polygons.

    Args:
        polygons: Corners (x, y) in pixels, each of shape (N, 2).
    """

    def paint(size: tuple[int, int]) -> NDArray[np.bool_]:
        area = np.zeros(size, np.bool_)
        for points in polygons:
            area |= fill_polygon(points, size)
        return area

    return paint
