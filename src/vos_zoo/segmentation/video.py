"""From a video and some masks to a folder of masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vos_zoo.files import folder_lock
from vos_zoo.media.writer import MaskWriter
from vos_zoo.segmentation.plan import OVERLAY_FILE, Outputs, plan_run
from vos_zoo.segmentation.run import Run, SegmentationReport
from vos_zoo.segmentation.sessions import Sessions
from vos_zoo.weights.find import local_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from vos_zoo.inference.arithmetic import Precision
    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.inference.result import FrameResult
    from vos_zoo.inference.unwrap import Model
    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.absences import AbsentObjects
    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.media.in_memory import FrameSource
    from vos_zoo.media.levels import LevelsChoice
    from vos_zoo.media.mask_values import VoidChoice
    from vos_zoo.segmentation.passes import Direction

__all__ = ["OVERLAY_FILE", "SegmentationReport", "segment_video"]


def segment_video(
    video: FrameSource,
    masks: MaskSource,
    *,
    out: str | Path,
    model: Model = "rde",
    device: str | torch.device | None = None,
    size: WorkingSize | Literal["native"] = "native",
    precision: Precision | Literal["auto"] = "fp32",
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    levels: LevelsChoice = None,
    color: ColorOrder = "rgb",
    overlay: bool | str | Path = False,
    show: str | None = None,
    save_probabilities: bool = False,
    side_inputs: Mapping[str, str | Path] | None = None,
    resize_mask: bool = False,
    void: VoidChoice = "auto",
    mask_reading: MaskReading | None = None,
    direction: Direction = "forward",
    absent: AbsentObjects | None = None,
    memory_budget: int | None = None,
    resume: bool = False,
    redo: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    on_frame: Callable[[FrameResult], None] | None = None,
) -> SegmentationReport:
    """Segment objects through a video and write one mask per frame.

    Every mask is written while the next frame is segmented, so an interrupted run loses nothing that is
    finished. One that is killed loses the frame it is at, and at most one mask that was still being written.

    Args:
        video: A video file, a folder of frames, a file of several images, ``"-"`` for standard input, an address such
            as ``https://…``, or the number of a camera; see :func:`~vos_zoo.media.reader.open_video`. Or frames in
            memory, as an array, a tensor, or an iterable of frames; see :func:`vos_zoo.segment_frames`.
        masks: One mask for the first frame, or a folder of masks named like frames; a file or folder of an annotation
            tool, see ``vos_zoo.interchange.reading.MASK_FORMATS``; or masks in memory, see
            :func:`vos_zoo.segment_frames`. Objects may enter later, and a mask of a known object corrects it.
        out: Folder for the masks, written as palette PNG under the frames' names (16-bit grey if an id is over 255).
        model: A name for :func:`vos_zoo.load_model`, or a loaded model.
        device: Where the network runs: ``"auto"`` for the best available device, or a name such as ``"cuda:1"``. None
            means the best device for a model given by name, and a loaded model's own device. A loaded model itself
            is not moved.
        size: How the network sees frames, see :class:`vos_zoo.VideoSession`: a short side in pixels, (height, width),
            None for the frames' own size, or ``"native"``. Masks always have the frame's own size.
        precision: ``"fp32"``, ``"tf32"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` for the fastest, see
            ``vos_zoo.inference.arithmetic``.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Use only every n-th frame.
        levels: Which values of frames of more than 8 bits per colour become 0 and 255: "clip", "type" or (low, high);
            see :func:`~vos_zoo.media.reader.open_video`.
        color: Order of the colours of frames in memory: "rgb", or "bgr" as OpenCV reads them.
        overlay: Also write a video with the masks drawn over the frames: True for ``out/overlay.mp4``, or a path. It
            keeps the timestamps, the pixel aspect ratio and, if MP4 can hold it, the sound of the source.
        show: Also write one of the network's ``views``, as an image per frame in the folder ``out/<show>``, with its
            mean over time as table and chart.
        save_probabilities: Also write the probability of every object, as a grey PNG per object and frame, to the
            folders ``out/probabilities/<id>``, from which :func:`vos_zoo.export_masks` makes soft edges.
        side_inputs: What the network takes in addition to frames and masks: the path of each, by its name among the
            network's ``side_inputs``.
        resize_mask: Resample masks of another size than their frame instead of refusing them.
        void: The value of mask pixels that mean "no opinion", where objects are segmented as without a mask. "auto"
            uses 255 if it rims objects; None means that every value is an object.
        mask_reading: Options for masks that can be read in two ways; without them an error names both ways.
        direction: Where to track from the annotated frames. "forward" runs from the first one to the end of the video
            and leaves the frames before it empty; "backward" runs from the last one to the beginning and leaves the
            frames after it empty; "both" does both, so a mask from the middle of the video is enough. Between two
            annotations of an object, the two passes are blended by the distance in time. Masks of several frames are
            used in every direction. A backward pass holds up to 32 frames or 256 MiB of a video file in memory,
            whichever is less (at least 4 frames).
        absent: Objects that frames do not show, ``{frame number or name: ids}``: their masks are empty there, the model
            memorises their absence, and they stay tracked. A file ``absent.json`` next to the masks,
            ``{"00012": [3]}``, does the same.
        memory_budget: Maximum number of bytes of the network's memory on the device.
        resume: Continue where an earlier run with the same settings stopped. The memory is rebuilt from the annotated
            frames and the last finished one, so masks may differ slightly from those of an uninterrupted run.
        redo: Update an earlier run: masks and absences that were added, changed or removed are detected, and only
            the frames from each of them to the next annotated frame, in the directions of the run, are segmented again;
            for an object that is new or that no mask shows any more, all frames in which it is followed now or was
            before. All other masks stay as they are. Of a run or a redo that was stopped, the rest is segmented, too.
        overwrite: Replace files in ``out`` that have the names of new ones, each when its successor is complete.
        progress: Called with the number of finished frames and the number of all frames, as soon as a frame's mask is
            written; by then, the next frame is segmented. What it raises stops the run; ``resume`` and ``redo``
            continue it.
        on_frame: Called with every result as soon as its mask is written, before ``progress``.

    Raises:
        UsageError: If ``video``, ``masks`` or ``model`` has an unsupported type.
        MissingFileError: If the video, the masks or the model do not exist.
        VideoError: If the video cannot be read, has no frames, or is damaged; masks of the frames before the damage
            are written.
        MaskError: If a mask is not a map of ids, does not fit its frame, belongs to no frame, or names no object; or if
            what is given can be read in two ways.
        OutputExistsError: If ``out`` holds files and none of ``resume``, ``redo`` and ``overwrite`` is given, or,
            whatever is given, if results would replace the video, a given mask or another input.
        OutputInUseError: If another run is writing into ``out``.
        ConfigError: If an argument is out of range, ``resume`` is given with other settings or given masks than before,
            ``redo`` without a run of these settings, a direction for frames that come once only, or the model
            shows or takes nothing of the name.
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
        Outputs.below(
            out,
            overlay=overlay,
            show=show,
            resume=resume,
            redo=redo,
            overwrite=overwrite,
            save_probabilities=save_probabilities,
        ),
        settings={
            "model": str(model) if isinstance(model, (str, Path)) else type(model).__name__,
            "size": list(size) if isinstance(size, tuple) else size,
            "precision": precision,
            "save_probabilities": save_probabilities or None,  # nothing for the usual choice, as older runs noted it
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
        direction=direction,
        absent=absent,
    )
    sessions = Sessions(model, device, size, precision, memory_budget, side_inputs, show)
    with folder_lock(plan.outputs.folder):  # before the model takes its time
        writer = MaskWriter(plan.outputs.folder, resume=resume or redo, overwrite=overwrite)
        return Run(plan, sessions, writer, progress, on_frame).report()
