"""The loop of a run: passes over the video, every mask written while the next frame is segmented."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vos_zoo.inference.geometry import enlarge
from vos_zoo.interchange.probabilities import ProbabilityWriter
from vos_zoo.media.masks import read_mask
from vos_zoo.media.overlay import draw_overlay
from vos_zoo.media.write_behind import write_behind
from vos_zoo.media.writer import VideoWriter
from vos_zoo.segmentation.blending import Blender, KeptPass
from vos_zoo.segmentation.confidence import ObjectTable
from vos_zoo.segmentation.journal import note_given
from vos_zoo.segmentation.passes import run_pass
from vos_zoo.segmentation.views import ViewWriter
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from vos_zoo.inference.result import FrameResult
    from vos_zoo.inference.session import FrameView, VideoSession
    from vos_zoo.media.frames import VideoFrame, VideoReader
    from vos_zoo.media.mask_decoding import Mask
    from vos_zoo.media.writer import MaskWriter
    from vos_zoo.segmentation.journal import GivenNote
    from vos_zoo.segmentation.passes import Pass
    from vos_zoo.segmentation.plan import Plan
    from vos_zoo.segmentation.sessions import Sessions

__all__ = ["Run", "SegmentationReport"]

_logger = logging.getLogger(__name__)
_FOLDER_RATE = 24.0  # frames per second of an overlay when the source is a folder of frames
_KEPT_FOLDER = ".backward"  # below the masks, until both passes are blended


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


@dataclass(frozen=True, eq=False)
class _Step:
    """All that is to be written of one frame.

    Attributes:
        frame: The frame.
        result: What was segmented; None if the frame's mask was finished before.
        is_kept: Whether the result is kept to be blended later.
        view: What the network shows beside its masks.
        given: Objects that the user gave there, or said to be absent.
        note: What the journal notes of what the user gave for it.
    """

    frame: VideoFrame
    result: FrameResult | None
    is_kept: bool
    view: FrameView | None
    given: frozenset[int]
    note: GivenNote | None


class Run:
    """A planned run.

    Args:
        plan: What is read and written.
        sessions: Opens the session of every pass.
        writer: The folder of masks, which is locked.
        progress: Called with the number of finished steps and of all steps; None if nobody wants to know. A step is one
            frame of one pass.
        on_frame: Called with every result whose mask has been written; None if nobody wants to know.
    """

    def __init__(
        self,
        plan: Plan,
        sessions: Sessions,
        writer: MaskWriter,
        progress: Callable[[int, int], None] | None,
        on_frame: Callable[[FrameResult], None] | None = None,
    ) -> None:
        self._plan = plan
        self._sessions = sessions
        self._writer = writer
        self._progress = progress
        self._on_frame = on_frame
        self._reader = plan.inputs.reader
        self._kept = KeptPass(plan.outputs.folder / _KEPT_FOLDER)
        self._total = sum(len(one.segmented) for passes in plan.windows for one in passes)
        self._done = self._segmented = 0
        self._came: set[str] = set()
        self._device = ""
        self._views: ViewWriter | None = None
        self._table = ObjectTable(plan.outputs.folder, resume=plan.outputs.resume or plan.outputs.redo)
        self._probabilities = ProbabilityWriter(plan.outputs.folder) if plan.outputs.saves_probabilities else None
        # An overlay is drawn along the way if all frames come once, in their order.
        is_in_order = not plan.is_redo and all(one.positions == range(len(self._reader)) for one in plan.windows[0])
        path = plan.outputs.overlay
        self._overlay = _overlay_writer(path, self._reader) if path is not None and is_in_order else None

    def report(self) -> SegmentationReport:
        """Segment what is not finished, write it, and report.

        Raises:
            VosZooError: As :func:`vos_zoo.segment_video` says.
        """
        plan, outputs, annotations = self._plan, self._plan.outputs, self._plan.inputs.annotations
        names = self._reader.names
        finished = self._begin()
        if self._sessions.show is not None and outputs.views is not None:
            self._views = ViewWriter(outputs.views, self._sessions.show, resume=outputs.resume or outputs.redo)
        begin = time.perf_counter()
        with self._overlay or contextlib.nullcontext(), self._views or contextlib.nullcontext(), self._table:
            for passes in plan.windows:
                self._run_window(passes, finished)
                if plan.is_redo:
                    plan.journal.finish_window(names, annotations)
        if self._overlay is None and outputs.overlay is not None:
            self._draw_overlay(outputs.overlay)
        plan.journal.complete()
        unused = [] if plan.is_redo else annotations.unused(self._came)
        if unused:
            _logger.warning(
                "%d masks were not used, because their frames did not come: %s.",
                len(unused), ", ".join(unused),
            )  # fmt: skip
        return SegmentationReport(
            folder=outputs.folder,
            frames=len(self._writer.done.intersection(names)) if plan.is_redo else len(self._came),
            segmented=self._segmented,
            objects=tuple(sorted(annotations.objects)),
            seconds=time.perf_counter() - begin,
            overlay=outputs.overlay,
            views=outputs.views,
            device=self._device,
        )

    def _begin(self) -> int:
        """Write the journal's first note, and count the steps whose results are there already."""
        plan, names = self._plan, self._reader.names
        if plan.is_redo:
            self._kept.remove()
            plan.journal.begin_redo(plan.journal.pending)
            return 0
        # What is kept for blending is removed once all masks are final.
        is_final = plan.noted == self._total and self._writer.done.issuperset(names)
        steps = ((one, position) for one in plan.windows[0] for position in one.segmented)
        complete = itertools.takewhile(
            lambda step: names[step[1]] in (self._kept if step[1] in step[0].kept else self._writer.done),
            itertools.islice(steps, plan.noted),
        )
        finished = self._total if is_final else sum(1 for _ in complete)
        if finished:
            plan.journal.resume(plan.windows[0], names, finished, plan.inputs.annotations)
        else:
            self._kept.remove()
            plan.journal.begin(plan.windows[0])
        return finished

    def _run_window(self, passes: list[Pass], finished: int) -> None:
        """Run the passes over some frames, except for the first finished steps."""
        inputs = self._plan.inputs
        blender = None
        if any(one.blended for one in passes):
            blender = Blender.between(self._kept, inputs.annotations, self._reader.names)
        for one in passes:
            skipped = min(finished, len(one.segmented))
            finished -= skipped
            if skipped == len(one.segmented) and self._overlay is None:
                self._came.update(self._reader.names[position] for position in one.segmented)
                self._done += skipped
                continue
            self._run_pass(one.resumed(skipped), one.known, blender)
        self._kept.remove()

    def _run_pass(self, one: Pass, primers: int, blender: Blender | None) -> None:
        """Run one pass; of the frames that are known, those after the primers count as finished steps."""
        inputs = self._plan.inputs
        session, seen = self._sessions.open(one, inputs)
        self._device = str(session.device)
        frames = run_pass(
            one,
            self._reader,
            inputs.annotations,
            session,
            known_mask=lambda name: self._known_mask(one, name),
            watch=seen.append,
            may_lag=self._views is None,
        )
        steps = self._steps(one, itertools.islice(frames, primers, None), session, blender)
        for step in write_behind(steps, self._write):
            self._came.add(step.frame.name)
            self._done += 1
            if step.result is not None and not step.is_kept:
                self._segmented += 1
                if self._on_frame is not None:
                    self._on_frame(step.result)
            if self._progress is not None:
                self._progress(self._done, self._total if self._reader.has_known_length else self._done)

    def _steps(
        self,
        one: Pass,
        frames: Iterable[tuple[VideoFrame, FrameResult | None]],
        session: VideoSession,
        blender: Blender | None,
    ) -> Iterator[_Step]:
        """Collect what is to be written of every frame, while the session is still at it."""
        annotations = self._plan.inputs.annotations
        for frame, result in frames:
            position = self._reader.position(frame)
            is_kept = position in one.kept
            if result is not None and not is_kept and blender is not None and position in one.blended:
                result = blender.blend(result)
            yield _Step(
                frame,
                result,
                is_kept=is_kept,
                view=None if result is None or self._views is None else session.view(self._views.name),
                given=annotations.ids(frame.name),
                note=note_given(annotations, frame.name),
            )

    def _write(self, step: _Step) -> None:
        """Write a result, for blending later or as the frame's mask, and then note it; runs in another thread."""
        frame, result = step.frame, step.result
        if result is not None:
            if step.is_kept:
                self._kept.write(result)
            else:
                self._write_mask(step, result)
            if self._views is not None:
                self._views.write(frame, step.view)
            if not self._plan.is_redo:
                self._plan.journal.note(frame.name, step.note)
        if self._overlay is not None:
            mask = result.mask if result is not None else self._finished_mask(frame.name)
            self._overlay.write(draw_overlay(frame.image, mask), frame.time)

    def _write_mask(self, step: _Step, result: FrameResult) -> None:
        name = step.frame.name
        if self._probabilities is not None:  # first, so that a mask that counts as finished has them
            self._probabilities.write(name, _planes(result))
        self._writer.write(name, result.mask)
        self._table.write(step.frame.index, name, result.objects, step.given)

    def _known_mask(self, one: Pass, name: str) -> Mask | None:
        """Return the current mask of a frame, from which a pass continues."""
        if name in self._kept and self._reader.names.index(name) in one.kept:
            return self._kept.mask(name, self._reader.size)
        return self._finished_mask(name) if name in self._writer.done else None

    def _finished_mask(self, name: str) -> Mask:
        return read_mask(self._writer.path(name), void=0)  # a void value keeps 255 an id like any other

    def _draw_overlay(self, path: Path) -> None:
        """Draw the masks of all frames over them, in their order."""
        with announced(_logger, "Drawing the overlay"), _overlay_writer(path, self._reader) as overlay:
            for frame in self._reader:
                if frame.name in self._writer.done:
                    overlay.write(draw_overlay(frame.image, self._finished_mask(frame.name)), frame.time)


def _planes(result: FrameResult) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give every object's probability at the frame's size, one at a time."""
    height, width = result.mask.shape
    for plane, object_id in enumerate(result.object_ids, start=1):
        yield object_id, enlarge(result.probabilities[plane : plane + 1], (height, width))[0].cpu().numpy()


def _overlay_writer(path: Path, reader: VideoReader) -> VideoWriter:
    return VideoWriter(
        path, reader.size, fps=reader.fps or _FOLDER_RATE, pixel_aspect=reader.pixel_aspect, sound=reader.sound
    )
