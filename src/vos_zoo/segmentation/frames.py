"""From the frames of a video and some masks to results one after another, without a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vos_zoo.inference.session import VideoSession
from vos_zoo.media.mask_values import VOID
from vos_zoo.segmentation.inputs import open_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from vos_zoo.inference.arithmetic import Precision
    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.inference.result import FrameResult
    from vos_zoo.inference.unwrap import Model
    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.media.in_memory import FrameSource
    from vos_zoo.media.levels import LevelsChoice
    from vos_zoo.media.mask_values import VoidChoice
    from vos_zoo.segmentation.inputs import Inputs

__all__ = ["segment_frames"]


def segment_frames(
    frames: FrameSource,
    masks: MaskSource,
    *,
    model: Model = "rde",
    device: str | torch.device | None = None,
    size: WorkingSize | Literal["native"] = "native",
    precision: Precision = "fp32",
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    levels: LevelsChoice = None,
    color: ColorOrder = "rgb",
    resize_mask: bool = False,
    void: VoidChoice = "auto",
    mask_reading: MaskReading | None = None,
    memory_budget: int | None = None,
) -> Iterator[FrameResult]:
    """Segment objects through a video and give the result of every frame, one at a time; no file is written.

    Args:
        frames: A video file, a folder of frames, an address or the number of a camera; an open reader of
            :func:`~vos_zoo.media.reader.open_video`; an array or tensor (T, H, W, 3) or (T, 3, H, W); or any iterable
            of frames, each an array, a tensor on any device, or a Pillow image. Arrays and tensors hold 0-255 as uint8,
            or 0-1. Frames in memory are named ``00000``, ``00001``, …
        masks: The mask of the first frame, or masks by frame, ``{frame number or name: mask}``; or the path of a mask
            file or of a folder of masks named like frames. A mask is an array, tensor or image of object ids (H, W), of
            booleans (H, W), or one boolean mask per object: a stack (N, H, W) or a list, for objects 1 to N.
        model: A name for :func:`vos_zoo.load_model`, or a loaded model.
        device: Where the network runs, see :func:`vos_zoo.segment_video`.
        size: How the network sees frames, see :class:`vos_zoo.VideoSession`.
        precision: ``"fp32"``, ``"tf32"``, ``"bf16"`` or ``"fp16"``.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Take every n-th frame only.
        levels: Which values of files of more than 8 bits per colour become 0 and 255.
        color: Order of the colours of arrays and tensors: "rgb", or "bgr" as OpenCV reads them.
        resize_mask: Resample masks of another size than their frame instead of refusing them.
        void: The value of mask pixels without an opinion.
        mask_reading: What decides where given masks can be read in two ways; an error names both then.
        memory_budget: Most bytes that the network's memory may take on the device.

    Returns:
        An iterator of results, in the order of the frames. ``index`` and ``name`` say which frame a result belongs to.

    Raises:
        VosZooError: As :func:`vos_zoo.segment_video` says for what it reads, before the first frame; later, only what
            is wrong with a later frame or mask.

    Example:
        >>> import numpy as np
        >>> from vos_zoo.models.rde import RDEModule
        >>> video = np.zeros((3, 40, 60, 3), np.uint8)
        >>> box = np.zeros((40, 60), bool)
        >>> box[10:30, 10:30] = True
        >>> [(result.name, result.mask.shape) for result in segment_frames(video, box, model=RDEModule("tiny"))]
        [('00000', (40, 60)), ('00001', (40, 60)), ('00002', (40, 60))]
    """
    inputs = open_inputs(
        frames,
        masks,
        start=start,
        end=end,
        every=every,
        levels=levels,
        color=color,
        resize_mask=resize_mask,
        void=void,
        reading=mask_reading,
    )
    if device is None and isinstance(model, (str, Path)):
        device = "auto"
    session = VideoSession(
        model, size=size, device=device, precision=precision, max_memory_bytes=memory_budget, void=VOID
    )
    return _forward(inputs, session)


def _forward(inputs: Inputs, session: VideoSession) -> Iterator[FrameResult]:
    for frame in inputs.reader:
        result = session.step(frame.image, inputs.annotations.get(frame.name))
        yield replace(result, index=frame.index, name=frame.name)
