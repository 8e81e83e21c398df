"""From the frames of a video and some masks to results one after another, without a file."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vos_zoo.segmentation.blending import Blender, KeptPass
from vos_zoo.segmentation.inputs import open_inputs
from vos_zoo.segmentation.passes import plan_passes, run_pass
from vos_zoo.segmentation.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from vos_zoo.inference.arithmetic import Precision
    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.inference.result import FrameResult
    from vos_zoo.inference.session import VideoSession
    from vos_zoo.inference.unwrap import Model
    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.absences import AbsentObjects
    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.media.in_memory import FrameSource
    from vos_zoo.media.levels import LevelsChoice
    from vos_zoo.media.mask_values import VoidChoice
    from vos_zoo.segmentation.inputs import Inputs
    from vos_zoo.segmentation.passes import Direction, Pass

__all__ = ["segment_frames"]


def segment_frames(
    frames: FrameSource,
    masks: MaskSource,
    *,
    model: Model = "rde",
    device: str | torch.device | None = None,
    size: WorkingSize | Literal["native"] = "native",
    precision: Precision | Literal["auto"] = "fp32",
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    levels: LevelsChoice = None,
    color: ColorOrder = "rgb",
    resize_mask: bool = False,
    void: VoidChoice = "auto",
    direction: Direction = "forward",
    absent: AbsentObjects | None = None,
    mask_reading: MaskReading | None = None,
    memory_budget: int | None = None,
) -> Iterator[FrameResult]:
    """Segment objects through a video and yield the result of every frame; no file is written.

    Args:
        frames: A video file, a folder of frames, an address or the number of a camera; an open reader of
            :func:`~vos_zoo.media.reader.open_video`; an array or tensor (T, H, W, 3) or (T, 3, H, W); or any iterable
            of frames, each an array, a tensor on any device, or a Pillow image. Arrays and tensors hold 0-255 as uint8,
            or 0-1. Frames in memory are named ``00000``, ``00001``, …
        masks: The mask of the first frame, or masks by frame, ``{frame number or name: mask}``; or the path of a mask
            file or of a folder of masks named like frames. A mask is an array, tensor or image of object ids (H, W), of
            booleans (H, W), or one boolean mask per object: a stack (N, H, W) or a list, for objects 1 to N.
        model: A name for :func:`vos_zoo.load_model`, or a loaded model.
        direction: Where to go from the annotated frames: "forward", "backward" or "both"; see
            :func:`vos_zoo.segment_video`.
        absent: Objects that frames do not show, ``{frame number or name: ids}``. They stay tracked.
        device: Where the network runs, see :func:`vos_zoo.segment_video`.
        size: How the network sees frames, see :class:`vos_zoo.VideoSession`.
        precision: ``"fp32"``, ``"tf32"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` for the fastest.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Use only every n-th frame.
        levels: Which values of files of more than 8 bits per colour become 0 and 255.
        color: Order of the colours of arrays and tensors: "rgb", or "bgr" as OpenCV reads them.
        resize_mask: Resample masks of another size than their frame instead of refusing them.
        void: The value of mask pixels that mean "no opinion".
        mask_reading: Options for masks that can be read in two ways; without them an error names both ways.
        memory_budget: Maximum number of bytes of the network's memory on the device.

    Returns:
        An iterator of results, each as soon as it is final: "forward" in frame order, "backward" from the last frame to
        the first, and with "both" first the frames before the first mask, in reverse order, then all others in frame
        order. ``index`` and ``name`` identify the frame of a result.

        A forward pass holds one frame in memory at a time, a backward pass up to 32 frames or 256 MiB of a video file,
        whichever is less (at least 4). With "both", compressed soft masks of the frames between the first and the last
        mask are kept in a temporary folder.

    Raises:
        VosZooError: As for :func:`vos_zoo.segment_video`, before the first frame; afterwards, only errors of a
            later frame or mask.

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
        direction=direction,
        absent=absent,
        reading=mask_reading,
    )
    passes = plan_passes(direction, inputs.annotated, len(inputs.reader))
    sessions = Sessions(model, device=device, size=size, precision=precision, memory_budget=memory_budget)
    first = sessions.open(passes[0], inputs)  # so that a wrong model is found now
    return _run(inputs, passes, sessions, first[0])


def _run(
    inputs: Inputs, passes: Sequence[Pass], sessions: Sessions, session: VideoSession | None
) -> Iterator[FrameResult]:
    with contextlib.ExitStack() as stack:
        blender = None
        if len(passes) > 1:
            kept = KeptPass(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vos-zoo-"))))
            blender = Blender.between(kept, inputs.annotations, inputs.reader.names)
        for one in passes:
            session = session or sessions.open(one, inputs)[0]
            for frame, result in run_pass(one, inputs.reader, inputs.annotations, session):
                position = inputs.reader.position(frame)
                if result is None:
                    continue
                if blender is not None and position in one.kept:
                    blender.kept.write(result)
                else:
                    yield result if blender is None or position not in one.blended else blender.blend(result)
            session = None
