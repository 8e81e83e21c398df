"""What an exporter is: a class that takes the masks of one video frame by frame."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vos_zoo.interchange.soft_edges import soft_edges

__all__ = ["CollectionExporter", "ExportedVideo", "Exporter", "ResultFrame"]


@dataclass(frozen=True)
class ExportedVideo:
    """What is known about a video before its first frame comes.

    Attributes:
        name: Name of the video: the stem of its file, or the name of its folder.
        size: (H, W) of every frame and mask in pixels.
        frame_names: Names of the exported frames, in their order.
        frame_indices: Their positions in the whole video, from 0, rising.
        frame_files: Names of their image files, as annotation tools show them ("00012.jpg").
        objects: Ids of the exported objects, rising; every one is in at least one mask.
        labels: What the user calls objects, by id; see :meth:`label`.
        fps: Frames per second of the whole video; None if nobody knows.
        pixel_aspect: Width of a shown pixel by its height.
        path: The video's file or folder; None if only the masks are there.
        sound: File with its sound, on the clock of the frames' times, or None.
    """

    name: str
    size: tuple[int, int]
    frame_names: Sequence[str]
    frame_indices: Sequence[int]
    frame_files: Sequence[str]
    objects: tuple[int, ...]
    labels: Mapping[int, str] = field(default_factory=dict)
    fps: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    path: Path | None = None
    sound: Path | None = None

    def label(self, object_id: int) -> str:
        """Say what an object is called: as the user says, else by its id.

        Example:
            >>> video = ExportedVideo("bird", (4, 6), ["00000"], [0], ["00000.jpg"], (1, 2), {1: "wing"})
            >>> video.label(1), video.label(2)
            ('wing', 'object 2')
        """
        return self.labels.get(object_id, f"object {object_id}")


@dataclass(frozen=True, eq=False)
class ResultFrame:
    """One frame with its result.

    Attributes:
        index: Position in the whole video, from 0.
        name: Name of the frame.
        time: When it is shown, in seconds on the clock of the video; None if the video does not say.
        mask: Object ids, integer, shape (H, W); 0 where no exported object is.
        probabilities: Probability of every exported object that has any in this frame, uint8 (255 is certain), shape
            (H, W), by id. None unless the export was asked for soft edges.
        load_image: Reads the image; use :attr:`image`.
    """

    index: int
    name: str
    time: Fraction | None
    mask: NDArray[np.integer[Any]]
    probabilities: Mapping[int, NDArray[np.uint8]] | None
    load_image: Callable[[], NDArray[np.uint8]]

    @functools.cached_property
    def image(self) -> NDArray[np.uint8]:
        """The image, RGB, uint8, shape (H, W, 3), read on first use.

        Raises:
            VideoError: If it cannot be read.
            UsageError: If the exporter's class does not say that it ``needs_images``.
        """
        return self.load_image()

    def opacity(self, object_id: int | None = None) -> NDArray[np.uint8]:
        """Return how opaque an object is: 0 or 255, or in between along its outline where edges are soft.

        Args:
            object_id: The object; None means all exported objects together.

        Returns:
            Opacity, uint8, shape (H, W).
        """
        inside = self.mask != 0 if object_id is None else self.mask == object_id
        if self.probabilities is None:
            return inside.astype(np.uint8) * np.uint8(255)
        chosen = self.probabilities.keys() if object_id is None else {object_id}
        total = np.zeros(self.mask.shape, np.uint16)
        for found in self.probabilities.keys() & chosen:
            total += self.probabilities[found]
        return soft_edges(np.minimum(total, 255).astype(np.uint8), inside)


class Exporter(abc.ABC):
    """Writes the masks of one video in one format, in memory that does not grow with its frames.

    The export around it opens, checks and reads, and calls :meth:`write` once per frame, in order, then :meth:`close`.
    ``path`` is in a fresh folder of this export's own, which is moved to the user's place after :meth:`close` and
    removed with everything in it if anything raises. So an exporter replaces nothing, needs no partial files, and may
    keep temporary files beside ``path`` as long as it removes them in :meth:`close`.

    Args:
        path: The file to write, or the folder to make; it does not exist.
        video: What is known about the video.

    Attributes:
        needs_images: Whether :attr:`ResultFrame.image` is used, so that the video is opened and decoded.
    """

    needs_images: ClassVar[bool] = False

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        self.path = path
        self.video = video

    def __enter__(self) -> Exporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self.close()
            except BaseException:
                self.discard()
                raise
        else:
            self.discard()

    @abc.abstractmethod
    def write(self, frame: ResultFrame) -> None:
        """Append one frame.

        Args:
            frame: The next frame.

        Raises:
            MaskError: If the format cannot hold its mask.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Finish the file or folder, after the last frame."""

    def discard(self) -> None:  # noqa: B027  # most exporters hold nothing open
        """Let go of open files after an error; what was written is removed from outside."""


class CollectionExporter(Exporter):
    """An exporter whose folder can hold several videos, to which further ones can be added."""

    @classmethod
    @abc.abstractmethod
    def check_root(cls, root: Path, name: str) -> None:
        """Make sure that a video can be added; nothing is written.

        Args:
            root: A folder that exists and holds something.
            name: Name of the video.

        Raises:
            OutputExistsError: If the folder is none of this format, or has a video of this name.
        """

    @classmethod
    @abc.abstractmethod
    def add(cls, staged: Path, root: Path) -> None:
        """Move a finished export of one video into a folder that holds others, wholly or not at all.

        Args:
            staged: The export.
            root: A folder for which ``check_root`` has found nothing wrong.
        """
