"""One visitor's project: a video, its objects, what was pointed out, and the masks so far; without the page."""

from __future__ import annotations

import io
import logging
import queue
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from vos_zoo.app.turns import Turns
from vos_zoo.errors import LimitError, OutputInUseError, PromptError, VosZooError
from vos_zoo.media.mask_values import davis_palette
from vos_zoo.prompts.json_form import prompts_to_json
from vos_zoo.prompts.prompt import Box, Prompt
from vos_zoo.segmentation.confidence import OBJECTS_FILE, ObjectRow, read_objects
from vos_zoo.segmentation.project import Project, ProjectRun, ProjectSettings, ProjectVideo
from vos_zoo.segmentation.replay import ProjectReplay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vos_zoo.app.limits import AppLimits
    from vos_zoo.app.pictures import FramePictures
    from vos_zoo.inference.result import FrameResult
    from vos_zoo.inference.unwrap import Model

__all__ = ["AppProject", "Preview"]

_logger = logging.getLogger(__name__)
_PREVIEW_EVERY = 0.25  # seconds
_STOPPED = "Stopped."


@dataclass(frozen=True)
class Preview:
    """What the page learns while objects are tracked.

    Attributes:
        done: Finished steps.
        total: All steps.
        frame: Number of the frame that has a new mask, or None since the last preview.
        frames_per_second: Steps per second so far.
        seconds_left: Estimate of the time that is left.
        is_last: Whether tracking has ended.
        message: Why it ended, if it was not finished.
        ahead: Other visitors whose turn comes first.
    """

    done: int
    total: int
    frame: int | None = None
    frames_per_second: float = 0.0
    seconds_left: float = 0.0
    is_last: bool = False
    message: str = ""
    ahead: int = 0


@dataclass(frozen=True)
class _Edit:
    frame: int
    prompt: Prompt


class AppProject:
    """A project on the disk, below a folder of its own.

    Args:
        images: The video's frames, all of them written.
        folder: A folder that belongs to the project from now on.
        limits: Limits of the server.
        turns: The line that visitors wait in; None for one of this project alone.
        load: Gives the model of a name.
        device: Where models run.

    Attributes:
        folder: As given.
        limits: As given.
        images: As given.
        video: The video file.
        names: Names of the objects, by id.
        used: When somebody asked for the project last, by the monotonic clock.
    """

    def __init__(
        self,
        pictures: FramePictures,
        folder: Path,
        limits: AppLimits,
        *,
        turns: Turns | None = None,
        load: Callable[[str], Model] = str,
        device: str | None = None,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.pictures = pictures
        self.video = pictures.video
        self.names: dict[int, str] = {1: "object 1"}
        self.used = time.monotonic()
        self._lock = threading.RLock()
        self._edits: list[_Edit] = []
        self._runs: list[ProjectRun] = []
        self._drawn: dict[int, NDArray[np.int32]] = {}
        self._turns = turns or Turns(limits.waiting)
        self._stop = threading.Event()
        self._is_running = False
        self._replay = ProjectReplay(self.video, folder / "masks", load=load, device=device)
        self._facts = ProjectVideo.of(self.video, pictures.count, pictures.size)

    @property
    def masks(self) -> Path:
        """Folder of the masks."""
        return self._replay.folder

    @property
    def is_running(self) -> bool:
        """Whether objects are being tracked at this moment."""
        return self._is_running

    def project(self) -> Project:
        """Return what was done so far, as it can be replayed."""
        with self._lock:
            names = {str(key): name for key, name in self.names.items() if key in self._replay.objects}
            return Project(self._facts, names, tuple(self._runs))

    def state(self) -> dict[str, Any]:
        """Return what the page shows beside images, as JSON data."""
        with self._lock:
            return {
                "video": self.video.name,
                "frames": self.pictures.count,
                "width": self._facts.width,
                "height": self._facts.height,
                "fps": self.pictures.fps,
                "objects": [{"id": key, "name": name, "colour": colour(key)} for key, name in self.names.items()],
                "prompted": sorted({edit.frame for edit in self._edits} | set(self._replay.given)),
                "pending": len(self._edits),
                "finished": list(self._replay.finished()),
                "rows": [
                    [row.frame, row.state.object_id, row.state.area, round(row.state.probability, 3), row.is_lost]
                    for row in self._table()
                ],
                "running": self._is_running,
                "runs": len(self._runs),
            }

    def mask(self, frame: int) -> NDArray[np.int32] | None:
        """Return the mask of a frame with everything that was pointed out, (H, W), or None."""
        self.pictures.check(frame)
        with self._lock:
            return self._drawn[frame] if frame in self._drawn else self._replay.mask(frame)

    def mask_picture(self, frame: int) -> bytes | None:
        """Return the mask of a frame as PNG with transparency, in the size of its image, or None."""
        mask = self.mask(frame)
        if mask is None or not mask.any():
            return None
        return _mask_png(mask, self.pictures.shown_size)

    def prompts(self, frame: int) -> list[dict[str, Any]]:
        """Return what was pointed out on a frame since the last tracking, as JSON data."""
        with self._lock:
            entries = prompts_to_json({frame: self._prompts(frame)})["frames"]
            return list(entries[str(frame)])

    def add_object(self) -> int:
        """Add an object and give its id.

        Raises:
            LimitError: If there are too many.
        """
        with self._lock:
            if len(self.names) >= self.limits.objects:
                raise LimitError(f"This project has {len(self.names)} objects. This page takes no more in one video.")
            object_id = max(self.names) + 1
            self.names[object_id] = f"object {object_id}"
            return object_id

    def rename(self, object_id: int, name: str) -> None:
        """Call an object something else; an empty name gives it its number back."""
        with self._lock:
            if object_id in self.names:
                self.names[object_id] = " ".join(name.split())[:60] or f"object {object_id}"

    def edit(self, frame: int, prompt: Prompt) -> None:
        """Point something out, and draw it into the frame's mask.

        Args:
            frame: Number of the frame.
            prompt: What was pointed out.

        Raises:
            PromptError: If it leads to no mask; then nothing changes.
            OutputInUseError: If objects are being tracked.
        """
        self.pictures.check(frame)
        with self._lock:
            self._check_idle()
            if prompt.object_id not in self.names:
                raise PromptError(f"There is no object {prompt.object_id}. Add it first.")
            self._edits.append(_Edit(frame, prompt))
            try:
                self._draw(frame)
            except Exception:
                self._edits.pop()
                raise

    def undo(self) -> int | None:
        """Take the last thing back that was pointed out since the last tracking.

        Returns:
            Number of its frame; None if there is nothing to take back.

        Raises:
            OutputInUseError: If objects are being tracked.
        """
        with self._lock:
            self._check_idle()
            if not self._edits:
                return None
            frame = self._edits.pop().frame
            self._draw(frame)
            return frame

    def track(self, settings: ProjectSettings) -> Generator[Preview, None, None]:
        """Track the objects, or segment again what corrections change.

        Closing the generator stops it within one frame, as :meth:`stop` does, but waits for nothing: a server closes
        it where everybody else's requests are answered.

        Args:
            settings: How.

        Yields:
            Previews, several a second, with or without news, so that a visitor who has left is noticed; the last one
            says whether everything is finished.

        Raises:
            OutputInUseError: If objects are being tracked already.
            LimitError: If too many visitors wait for their turn.
        """
        news: queue.Queue[Preview] = queue.Queue()
        with self._lock:
            self._check_idle()
            frames = sorted({edit.frame for edit in self._edits})
            run = ProjectRun(settings, prompts_to_json({frame: self._prompts(frame) for frame in frames}))
            self._stop.clear()
            turn = self._turns.take(lambda: self._run(run, news))
            self._is_running = True
        try:
            newest = Preview(0, 0)
            while not newest.is_last:
                try:
                    newest = news.get(timeout=_PREVIEW_EVERY)
                except queue.Empty:
                    newest = replace(newest, frame=None, ahead=turn.ahead)
                    if self._stop.is_set() and turn.leave():
                        self._is_running = False
                        newest = Preview(0, 0, is_last=True, message=_STOPPED)
                yield newest
        finally:
            self._stop.set()
            if turn.leave():
                self._is_running = False

    def stop(self) -> None:
        """Stop tracking within one frame; what is finished is kept."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and remove everything from the disk."""
        self._stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, run: ProjectRun, news: queue.Queue[Preview]) -> None:
        """Do a run in a thread of its own, and say how it goes."""
        begin = first_at = shown_at = time.perf_counter()
        newest: FrameResult | None = None
        message = ""

        def on_frame(result: FrameResult) -> None:
            nonlocal newest
            newest = result
            with self._lock:
                self._drawn.pop(result.index, None)

        def progress(done: int, total: int) -> None:
            nonlocal first_at, shown_at, newest
            now = time.perf_counter()
            if done == 1:
                first_at = now  # before it, the model was loaded
            elif now - shown_at < _PREVIEW_EVERY:
                return
            rate = max(done - 1, 1) / max(now - (begin if done == 1 else first_at), 1e-9)
            frame = None if newest is None else newest.index
            news.put(Preview(done, total, frame, rate, (total - done) / rate))
            shown_at, newest = now, None

        def should_stop() -> bool:
            return self._stop.is_set() or time.perf_counter() - begin > self.limits.running_seconds

        stopped: int | None = None
        try:
            if self._stop.is_set():  # while it was the first in line
                stopped = 0
            else:
                stopped = self._replay.run(run, progress=progress, on_frame=on_frame, should_stop=should_stop)
            if stopped is not None:
                message = _STOPPED if self._stop.is_set() else "Stopped: the time that one visitor may take is over."
        except Exception as error:  # whatever it is, the page says so and the server lives on
            stopped = self._replay.steps
            message = str(error) or type(error).__name__
            if not isinstance(error, VosZooError):
                _logger.exception("Tracking failed")
        with self._lock:
            if stopped is None or stopped > 0:
                self._runs.append(replace(run, steps=stopped))
                self._edits.clear()
                self._drawn.clear()
            self._is_running = False
        news.put(Preview(self._replay.steps, self._replay.steps, is_last=True, message=message))

    def _prompts(self, frame: int) -> list[Prompt]:
        """Return the prompts of a frame that count: a box takes the place of everything before it of its object."""
        found: list[Prompt] = []
        for edit in self._edits:
            if edit.frame == frame:
                if isinstance(edit.prompt, Box):
                    found = [prompt for prompt in found if prompt.object_id != edit.prompt.object_id]
                found.append(edit.prompt)
        return found

    def _draw(self, frame: int) -> None:
        prompts = self._prompts(frame)
        if prompts:
            self._drawn[frame] = np.asarray(self._replay.prompted(frame, prompts), np.int32)
        else:
            self._drawn.pop(frame, None)

    def _check_idle(self) -> None:
        if self._is_running:
            raise OutputInUseError("Objects are being tracked. Stop first.")

    def _table(self) -> list[ObjectRow]:
        """Read how sure the masks are, and which are doubtful."""
        path = self.masks / OBJECTS_FILE
        return read_objects(path) if path.is_file() else []


def _colours() -> NDArray[np.uint8]:
    """Return the colours of mask files, brightened: the palette's own dark ones would vanish on dark images."""
    palette = davis_palette().astype(np.float64)
    return np.rint(palette * (255 / np.maximum(palette.max(axis=1, keepdims=True), 1))).astype(np.uint8)


def colour(object_id: int) -> str:
    """Return the colour of an object on the page, such as ``#ff0000``."""
    red, green, blue = (int(value) for value in _colours()[object_id])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _mask_png(mask: NDArray[np.int32], size: tuple[int, int]) -> bytes:
    """Encode a mask with transparent background; ids are below 256, as the limits of the page say."""
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    picture = Image.fromarray(small)
    picture.putpalette(_colours().tobytes())
    content = io.BytesIO()
    picture.save(content, format="PNG", transparency=0, compress_type=zlib.Z_RLE)
    return content.getvalue()
