"""What a run reads: frames and given masks, opened and held against each other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vos_zoo.files import local_path
from vos_zoo.media.absences import name_absences
from vos_zoo.media.annotations import Annotations
from vos_zoo.media.frame_names import FrameNames
from vos_zoo.media.in_memory import open_frames
from vos_zoo.media.source import Fetched, source_id
from vos_zoo.prompts.given import open_given
from vos_zoo.segmentation.passes import check_direction

if TYPE_CHECKING:
    from pathlib import Path

    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.absences import AbsentObjects
    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.frames import VideoReader
    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.media.in_memory import FrameSource
    from vos_zoo.media.levels import LevelsChoice
    from vos_zoo.media.mask_values import VoidChoice
    from vos_zoo.prompts.given import Prompts
    from vos_zoo.segmentation.passes import Direction

__all__ = ["Inputs", "open_inputs"]

_MASKS_IN_MEMORY = "masks in memory"


@dataclass(frozen=True)
class Inputs:
    """Frames and masks of one video.

    Attributes:
        reader: The frames.
        annotations: The given masks; the first one has been read.
        video_id: What a run notes of the video: the whole path of what is on the disk, else what stands for it.
        masks_id: The same of the masks.
        paths: Files and folders that are read, which results must not replace.
    """

    reader: VideoReader
    annotations: Annotations
    video_id: str
    masks_id: str
    paths: tuple[str | Path, ...]

    @property
    def annotated(self) -> list[int]:
        """Positions of the frames that have a mask, rising."""
        masked = set(self.annotations.frames)
        return [position for position, name in enumerate(self.reader.names) if name in masked]


def open_inputs(
    video: FrameSource,
    masks: MaskSource | Prompts,
    *,
    start: int | None,
    end: int | None,
    every: int,
    levels: LevelsChoice,
    color: ColorOrder = "rgb",
    resize_mask: bool,
    void: VoidChoice,
    direction: Direction = "forward",
    absent: AbsentObjects | None = None,
    reading: MaskReading | None = None,
) -> Inputs:
    """Open what is read, and check what people get wrong most often.

    Args:
        video: See :func:`vos_zoo.media.in_memory.open_frames`, also for the selection of frames.
        masks: Masks or prompts, see :func:`vos_zoo.prompts.given.open_given`.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Take every n-th frame only.
        levels: Which values of frames of more than 8 bits become 0 and 255.
        color: Order of the colours of frames in memory.
        resize_mask: Whether masks of another size are resampled.
        void: The value of mask pixels without an opinion.
        direction: Where to go from the annotated frames.
        absent: Objects that frames do not show.
        reading: What decides where masks can be read in two ways.

    Raises:
        VosZooError: As the two functions say, or if the first mask does not fit or is the only one and empty, an
            absence fits no mask, or the video cannot be read in this direction.
    """
    reader = open_frames(video, start=start, end=end, every=every, levels=levels, color=color)
    check_direction(direction, reader)
    given = open_given(masks, reader, void=void, resize=resize_mask, reading=reading)
    named = name_absences(absent, FrameNames(reader.all_names)) if absent else {}
    annotations = Annotations(given, reader.size, resize_mask, named)
    annotations.check_first()
    video_id = source_id(os.fspath(video) if isinstance(video, (str, os.PathLike)) else reader.path)
    masks_id = _MASKS_IN_MEMORY
    if isinstance(masks, Fetched):
        masks_id = masks.origin
    elif isinstance(masks, (str, os.PathLike)):
        masks_id = str(local_path(os.fspath(masks)).resolve())
    return Inputs(reader, annotations, video_id, masks_id, (video_id, *given.paths))
