"""From a video and some masks to a folder of masks: the loop around a session."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.files import atomic_path, folder_lock
from vos_zoo.inference.session import VideoSession
from vos_zoo.inference.side_inputs import open_side_inputs
from vos_zoo.media.annotations import Annotations
from vos_zoo.media.masks import MaskFolder, read_mask
from vos_zoo.media.overlay import draw_overlay
from vos_zoo.media.reader import open_video
from vos_zoo.media.writer import MaskWriter, VideoWriter
from vos_zoo.run_file import RUN_FILE, changed_settings
from vos_zoo.segmentation.views import ViewWriter
from vos_zoo.version import __version__
from vos_zoo.weights import load_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.inference.session import NetworkHolder, Precision
    from vos_zoo.media.frames import VideoFrame, VideoReader
    from vos_zoo.network import VOSNetwork

__all__ = ["OVERLAY_FILE", "SegmentationReport", "segment_video"]

OVERLAY_FILE = "overlay.mp4"

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
    video: str | Path,
    masks: str | Path,
    *,
    out: str | Path,
    model: str | Path | NetworkHolder | VOSNetwork[Any, Any] = "rde",
    device: str | torch.device | None = None,
    size: WorkingSize | Literal["native"] = "native",
    precision: Precision = "fp32",
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    overlay: bool | str | Path = False,
    show: str | None = None,
    side_inputs: Mapping[str, str | Path] | None = None,
    resize_mask: bool = False,
    memory_budget: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SegmentationReport:
    """Segment objects through a video and write one mask per frame.

    Every mask is on the disk before the next frame is read, so that nothing is lost when a run stops half-way.

    Args:
        video: A video file, or a folder of frames.
        masks: One mask for the first frame, or a folder of masks named like frames. Objects may enter later, and a
            mask of a known object corrects it. Frames before the first mask get empty masks.
        out: Folder for the masks, written as palette PNG under the frames' names (16-bit grey if an id is over 255).
        model: A name for :func:`vos_zoo.load_model`, or a loaded model.
        device: Where the network runs: ``"auto"`` for the best device there is, or a name such as ``"cuda:1"``. None
            means the best device for a model given by name, and a loaded model's own device. A loaded model itself
            is not moved.
        size: How the network sees frames, see :class:`vos_zoo.VideoSession`: a short side in pixels, (height, width),
            None for the frames' own size, or ``"native"``. Masks always have the frame's own size.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Take every n-th frame only.
        overlay: Also write a video with the masks drawn over the frames: True for ``out/overlay.mp4``, or a path.
        show: Also write one of the network's ``views``, as an image per frame in the folder ``out/<show>``, with its
            mean over time as table and chart.
        side_inputs: What the network takes beside frames and masks: the path of each, by its name among the network's
            ``side_inputs``.
        resize_mask: Resample masks of another size than their frame instead of refusing them.
        memory_budget: Most bytes that the network's memory may take on the device.
        resume: Go on where an earlier run with the same settings stopped. The memory is built anew from the annotated
            frames and the last finished one, so that masks may differ slightly from those of an uninterrupted run.
        overwrite: Replace files in ``out`` that have the names of new ones.
        progress: Called with the number of finished frames and the number of all frames, after every frame.

    Raises:
        MissingFileError: If the video, the masks or the model do not exist.
        VideoError: If the video cannot be read, has no frames, or is damaged; masks of the frames before the damage
            are written.
        MaskError: If a mask is no map of ids, does not fit its frame, belongs to no frame, or names no object.
        OutputExistsError: If ``out`` holds files and neither ``resume`` nor ``overwrite`` is given.
        OutputInUseError: If another run writes into ``out`` at this moment.
        ConfigError: If an argument is out of range, ``resume`` is given with other settings than before, or the model
            shows or takes nothing of the name.
        DataError: If a side input is damaged or belongs to another video.
        UnknownModelError: If there is no such model.
        OutOfMemoryError: If the device has too little memory; the message names settings that would fit.
    """
    if resume and overwrite:
        raise ConfigError("Both resume and overwrite were given. Resume keeps finished masks, overwrite replaces them.")
    folder = Path(out)
    overlay_path = (folder / OVERLAY_FILE if overlay is True else Path(overlay)) if overlay else None
    reader = open_video(video, start=start, end=end, every=every)
    annotations = Annotations(MaskFolder(masks, reader.names, all_names=reader.all_names), reader.size, resize_mask)
    settings = {
        "video": str(Path(video).resolve()),
        "masks": str(Path(masks).resolve()),
        "model": str(model) if isinstance(model, (str, Path)) else type(model).__name__,
        "size": list(size) if isinstance(size, tuple) else size,
        "precision": precision,
        "start": start,
        "end": end,
        "every": every,
        "resize_mask": resize_mask,
        "side_inputs": {name: str(Path(path).resolve()) for name, path in (side_inputs or {}).items()},
    }
    # What people get wrong most often is looked at before a model is loaded: the first mask, where results go, and
    # whether another run writes there.
    annotations.check_first()
    with folder_lock(folder):
        if resume:
            _check_settings(folder, settings)
        writer = MaskWriter(folder, resume=resume, overwrite=overwrite)
        finished = sum(1 for _ in itertools.takewhile(lambda name: name in writer.done, reader.names))
        video_writer = None
        if overlay_path is not None:
            if overlay_path.exists() and not (resume or overwrite):
                raise OutputExistsError(
                    f"Overlay `{overlay_path}` exists. Choose another name, or replace it with overwrite=True "
                    "(`--overwrite`)."
                )
            video_writer = VideoWriter(overlay_path, reader.size, fps=reader.fps or _FOLDER_RATE)
        if isinstance(model, (str, Path)):
            model = load_network(model)
            device = device or "auto"
        network = cast("VOSNetwork[Any, Any]", getattr(model, "network", model))
        seen: list[str] = []  # frames that the session has seen since there are objects
        needed = reader.names[reader.names.index(annotations.first_frame) + 1 :]
        session = VideoSession(
            network,
            size=size,
            device=device,
            precision=precision,
            max_memory_bytes=memory_budget,
            side_inputs=open_side_inputs(network, side_inputs or {}, seen, needed=needed, size=size),
        )
        views = None
        if show is not None:
            session.watch(show)
            views = ViewWriter(folder / show, show, resume=resume)
        _begin(writer, reader.names[finished:], settings)

        begin = time.perf_counter()
        done = 0
        with video_writer or contextlib.nullcontext(), views or contextlib.nullcontext():
            for frame, mask in _segment_frames(session, reader, annotations, writer, finished, seen):
                done += 1
                if views is not None and done > finished:
                    views.write(frame, session.view(views.name))
                if video_writer is not None:
                    video_writer.write(draw_overlay(frame.image, mask))
                if progress is not None:
                    progress(done, len(reader))
        return SegmentationReport(
            folder=folder,
            frames=done,
            segmented=done - finished,
            objects=tuple(sorted(annotations.objects)),
            seconds=time.perf_counter() - begin,
            overlay=overlay_path,
            views=None if views is None else views.folder,
            device=str(session.device),
        )


def _segment_frames(
    session: VideoSession,
    reader: VideoReader,
    annotations: Annotations,
    writer: MaskWriter,
    finished: int,
    seen: list[str],
) -> Iterator[tuple[VideoFrame, NDArray[Any]]]:
    """Give every frame with its mask; masks beyond the finished ones are made and written first."""

    def step(frame: VideoFrame, given: NDArray[Any] | None) -> NDArray[Any]:
        if seen or (given is not None and given.any()):
            seen.append(frame.name)
        return session.step(frame.image, given).mask

    for number, frame in enumerate(reader):
        given = annotations.get(frame.name)
        if number < finished:
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
        yield frame, mask


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Make sure that a run is resumed with the settings it began with."""
    run_file = folder / RUN_FILE
    if not run_file.is_file():
        if folder.is_dir() and any(folder.glob("*.png")):
            raise OutputExistsError(
                f"{folder} holds masks but no {RUN_FILE}, so no run can be resumed in it. Choose another folder, or "
                "replace its masks with overwrite=True (`--overwrite`)."
            )
        return
    try:
        changed = changed_settings(run_file, settings)
    except ValueError as error:
        raise ConfigError(
            f"{run_file} is damaged ({error}), so its run cannot be resumed. Start again with overwrite=True "
            "(`--overwrite`)."
        ) from error
    if changed:
        raise ConfigError(
            f"The run in {folder} had other settings: {'; '.join(changed)}. Resume it with the same ones, or start "
            "again with overwrite=True (`--overwrite`) or in another folder."
        )


def _begin(writer: MaskWriter, unfinished: Sequence[str], settings: dict[str, Any]) -> None:
    """Note the settings, and remove the masks that will be replaced.

    A mask of an older run must not pass for a finished one when this run stops half-way and is resumed.
    """
    for name in unfinished:
        writer.path(name).unlink(missing_ok=True)
    content = {"vos_zoo_version": __version__, "settings": settings}
    with atomic_path(writer.folder / RUN_FILE) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
