"""From a video and some masks to a folder of masks: the loop around a session."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vos_zoo.files import folder_lock
from vos_zoo.inference.session import VideoSession
from vos_zoo.inference.side_inputs import open_side_inputs
from vos_zoo.inference.unwrap import find_network
from vos_zoo.media.mask_values import VOID
from vos_zoo.media.masks import mask_ids, read_mask
from vos_zoo.media.overlay import draw_overlay
from vos_zoo.media.writer import MaskWriter, VideoWriter
from vos_zoo.segmentation.plan import OVERLAY_FILE, Outputs, Plan, plan_run
from vos_zoo.segmentation.views import ViewWriter
from vos_zoo.weights.find import local_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch
    from numpy.typing import NDArray

    from vos_zoo.inference.arithmetic import Precision
    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.inference.unwrap import Model
    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.frames import VideoFrame, VideoReader
    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.media.in_memory import FrameSource
    from vos_zoo.media.levels import LevelsChoice
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["OVERLAY_FILE", "SegmentationReport", "segment_video"]

_logger = logging.getLogger(__name__)
_FOLDER_RATE = 24.0  # frames per second of an overlay when the source is a folder of frames


@dataclass(frozen=True)
class SegmentationReport:
    """What a run did.

    Attributes:
        folder: Where the masks are, one palette PNG per frame under the frame's name.
        frames: Frames that have a mask now.
        segmented: Frames of them that this call segmented; fewer than ``frames`` after a resumed run.
        objects: Ids of all objects that were annotated, rising.
        seconds: Time from the first frame to the last, reading and writing included, loading the model not.
        overlay: The overlay video; None if none was asked for.
        views: Folder of what the model shows beside its masks; None if nothing was asked for.
        device: Device that the model ran on.
    """

    folder: Path
    frames: int
    segmented: int
    objects: tuple[int, ...]
    seconds: float
    overlay: Path | None
    views: Path | None
    device: str

    @property
    def frames_per_second(self) -> float:
        """Segmented frames per second; 0 if there was nothing left to do."""
        return self.segmented / self.seconds if self.segmented else 0.0


def segment_video(
    video: FrameSource,
    masks: MaskSource,
    *,
    out: str | Path,
    model: Model = "rde",
    device: str | torch.device | None = None,
    size: WorkingSize | Literal["native"] = "native",
    precision: Precision = "fp32",
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    levels: LevelsChoice = None,
    color: ColorOrder = "rgb",
    overlay: bool | str | Path = False,
    show: str | None = None,
    side_inputs: Mapping[str, str | Path] | None = None,
    resize_mask: bool = False,
    void: VoidChoice = "auto",
    mask_reading: MaskReading | None = None,
    memory_budget: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SegmentationReport:
    """Segment objects through a video and write one mask per frame.

    Every mask is on the disk before the next frame is read, so that nothing is lost when a run stops half-way.

    Args:
        video: A video file, a folder of frames, a file of several images, ``"-"`` for standard input, an address such
            as ``https://…``, or the number of a camera; see :func:`~vos_zoo.media.reader.open_video`. Or frames in
            memory, as an array, a tensor, or an iterable of frames; see :func:`vos_zoo.segment_frames`.
        masks: One mask for the first frame, or a folder of masks named like frames; a file or folder of an annotation
            tool, see ``vos_zoo.interchange.reading.MASK_FORMATS``; or masks in memory, see
            :func:`vos_zoo.segment_frames`. Objects may enter later, and a mask of a known object corrects it. Frames
            before the first mask get empty masks.
        out: Folder for the masks, written as palette PNG under the frames' names (16-bit grey if an id is over 255).
        model: A name for :func:`vos_zoo.load_model`, or a loaded model.
        device: Where the network runs: ``"auto"`` for the best device there is, or a name such as ``"cuda:1"``. None
            means the best device for a model given by name, and a loaded model's own device. A loaded model itself
            is not moved.
        size: How the network sees frames, see :class:`vos_zoo.VideoSession`: a short side in pixels, (height, width),
            None for the frames' own size, or ``"native"``. Masks always have the frame's own size.
        precision: ``"fp32"``, ``"tf32"``, ``"bf16"`` or ``"fp16"``, see ``vos_zoo.inference.arithmetic``.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Take every n-th frame only.
        levels: Which values of frames of more than 8 bits per colour become 0 and 255: "clip", "type" or (low, high);
            see :func:`~vos_zoo.media.reader.open_video`.
        color: Order of the colours of frames in memory: "rgb", or "bgr" as OpenCV reads them.
        overlay: Also write a video with the masks drawn over the frames: True for ``out/overlay.mp4``, or a path. It
            has the times, the shape of pixels and, where MP4 can hold it, the sound of the source.
        show: Also write one of the network's ``views``, as an image per frame in the folder ``out/<show>``, with its
            mean over time as table and chart.
        side_inputs: What the network takes beside frames and masks: the path of each, by its name among the network's
            ``side_inputs``.
        resize_mask: Resample masks of another size than their frame instead of refusing them.
        void: The value of mask pixels without an opinion, where objects are segmented as if nothing had been given.
            "auto" takes 255 for it where it rims objects; None takes every value for an object.
        mask_reading: What decides where given masks can be read in two ways; an error names both then.
        memory_budget: Most bytes that the network's memory may take on the device.
        resume: Go on where an earlier run with the same settings stopped. The memory is built anew from the annotated
            frames and the last finished one, so that masks may differ slightly from those of an uninterrupted run.
        overwrite: Replace files in ``out`` that have the names of new ones, each when its successor is complete.
        progress: Called with the number of finished frames and the number of all frames, after every frame.

    Raises:
        UsageError: If ``video``, ``masks`` or ``model`` is nothing that can be one.
        MissingFileError: If the video, the masks or the model do not exist.
        VideoError: If the video cannot be read, has no frames, or is damaged; masks of the frames before the damage
            are written.
        MaskError: If a mask is no map of ids, does not fit its frame, belongs to no frame, or names no object; or if
            what is given can be read in two ways.
        OutputExistsError: If ``out`` holds files and neither ``resume`` nor ``overwrite`` is given, or, whatever is
            given, if results would replace the video, a given mask or another input.
        OutputInUseError: If another run writes into ``out`` at this moment.
        ConfigError: If an argument is out of range, ``resume`` is given with other settings or given masks than before,
            or the model shows or takes nothing of the name.
        DataError: If a side input is damaged or belongs to another video.
        UnknownModelError: If there is no such model.
        OutOfMemoryError: If the device has too little memory; the message names settings that would fit.

    Example:
        >>> from vos_zoo.demo import demo_clip
        >>> clip = demo_clip()
        >>> report = segment_video(clip.video, clip.first_mask, out="masks", end=3, size=96, device="cpu")
        >>> report.frames, sorted(path.name for path in report.folder.glob("*.png"))
        (3, ['00000.png', '00001.png', '00002.png'])
    """
    side_inputs = side_inputs or {}
    plan = plan_run(
        video,
        masks,
        Outputs.below(out, overlay=overlay, show=show, resume=resume, overwrite=overwrite),
        settings={
            "model": str(model) if isinstance(model, (str, Path)) else type(model).__name__,
            "size": list(size) if isinstance(size, tuple) else size,
            "precision": precision,
        },
        model_folder=local_folder(model) if isinstance(model, (str, Path)) else None,
        side_inputs=side_inputs,
        start=start,
        end=end,
        every=every,
        levels=levels,
        color=color,
        resize_mask=resize_mask,
        void=void,
        mask_reading=mask_reading,
    )
    with folder_lock(plan.outputs.folder):  # before the model takes its time
        writer = MaskWriter(plan.outputs.folder, resume=resume, overwrite=overwrite)
        overlay_writer = (
            None if plan.outputs.overlay is None else _overlay_writer(plan.outputs.overlay, plan.inputs.reader)
        )
        network = find_network(model)
        if device is None and isinstance(model, (str, Path)):
            device = "auto"
        reader, seen = plan.inputs.reader, list[str]()  # frames that the session has seen since there are objects
        needed = reader.names[reader.names.index(plan.inputs.annotations.frames[0]) + 1 :]
        session = VideoSession(
            network,
            size=size,
            device=device,
            precision=precision,
            max_memory_bytes=memory_budget,
            side_inputs=open_side_inputs(network, side_inputs, seen, needed=needed, size=size),
            void=VOID,
        )
        view_writer = None
        if show is not None and plan.outputs.views is not None:
            session.watch(show)
            view_writer = ViewWriter(plan.outputs.views, show, resume=resume)
        return _run(plan, session, seen, writer, overlay_writer, view_writer, progress)


def _overlay_writer(path: Path, reader: VideoReader) -> VideoWriter:
    return VideoWriter(
        path, reader.size, fps=reader.fps or _FOLDER_RATE, pixel_aspect=reader.pixel_aspect, sound=reader.sound
    )


def _run(
    plan: Plan,
    session: VideoSession,
    seen: list[str],
    writer: MaskWriter,
    overlay_writer: VideoWriter | None,
    view_writer: ViewWriter | None,
    progress: Callable[[int, int], None] | None,
) -> SegmentationReport:
    """Segment what is not finished, write it, and report."""
    reader = plan.inputs.reader
    complete = itertools.takewhile(lambda name: name in writer.done, reader.names[: plan.noted])
    finished = sum(1 for _ in complete)
    if finished == 0:
        plan.journal.begin()
    begin = time.perf_counter()
    done = 0
    came: list[str] = []
    with overlay_writer or contextlib.nullcontext(), view_writer or contextlib.nullcontext():
        for frame, mask in _segment_frames(plan, session, seen, writer, finished):
            done += 1
            came.append(frame.name)
            if view_writer is not None and done > finished:
                view_writer.write(frame, session.view(view_writer.name))
            if overlay_writer is not None:
                overlay_writer.write(draw_overlay(frame.image, mask), frame.time)
            if progress is not None:
                progress(done, len(reader) if reader.has_known_length else done)
    unused = plan.inputs.annotations.unused(came)
    if unused:
        _logger.warning(
            "%d masks were not used, because their frames did not come: %s.",
            len(unused), ", ".join(unused),
        )  # fmt: skip
    return SegmentationReport(
        folder=plan.outputs.folder,
        frames=done,
        segmented=done - finished,
        objects=tuple(sorted(plan.inputs.annotations.objects)),
        seconds=time.perf_counter() - begin,
        overlay=plan.outputs.overlay,
        views=plan.outputs.views,
        device=str(session.device),
    )


def _segment_frames(
    plan: Plan, session: VideoSession, seen: list[str], writer: MaskWriter, finished: int
) -> Iterator[tuple[VideoFrame, NDArray[Any]]]:
    """Give every frame with its mask; masks beyond the finished ones are made and written first."""

    def step(frame: VideoFrame, given: NDArray[Any] | None) -> NDArray[Any]:
        if seen or (given is not None and mask_ids(given, void=VOID)):
            seen.append(frame.name)
        return session.step(frame.image, given).mask

    for number, frame in enumerate(plan.inputs.reader):
        given = plan.inputs.annotations.get(frame.name)
        if number < finished:
            plan.journal.pass_over(frame.name, given)
            mask = read_mask(writer.path(frame.name), void=0)  # a void value keeps 255 an id like any other
            # The memory is built anew from what the user annotated and, to start where the run stopped, from the
            # last finished mask.
            if given is None and number == finished - 1 and mask.any():
                given = mask
            if given is not None:
                step(frame, given)
        else:
            mask = step(frame, given)
            writer.write(frame.name, mask)
            plan.journal.note(frame.name, given)
        yield frame, mask
