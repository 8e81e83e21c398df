"""Doing what a project says: its runs, one after another, in one folder of masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.errors import PromptError, VideoError
from vos_zoo.files import local_path
from vos_zoo.media.masks import mask_ids, read_mask
from vos_zoo.media.reader import open_video
from vos_zoo.prompts.mask import prompt_mask
from vos_zoo.prompts.prompt import Box
from vos_zoo.segmentation.video import segment_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from vos_zoo.inference.result import FrameResult
    from vos_zoo.inference.unwrap import Model
    from vos_zoo.prompts.prompt import Prompt
    from vos_zoo.segmentation.project import Project, ProjectRun, ProjectSettings

__all__ = ["ProjectReplay", "ReplayReport", "replay_project"]


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did.

    Attributes:
        folder: Where the masks are, one palette PNG per frame under the frame's name.
        frames: Frames that have a mask.
        objects: Ids of all objects that were pointed out, rising.
        runs: Runs of the project.
    """

    folder: Path
    frames: int
    objects: tuple[int, ...]
    runs: int


class _Stop(Exception):  # noqa: N818  # no error: what ends a run early
    """Raised after a step that is to be the last."""


class ProjectReplay:
    """The runs of a project on one video, done one after another.

    Prompts of a run draw objects into the masks that the runs before have left. A frame gives the objects that prompts
    name on it; an object that an eraser took away whole is absent there. Objects without a prompt are tracked through
    the frame.

    Args:
        video: The video file.
        folder: Folder for the masks.
        load: Gives the model of a name; by default the library loads it for every run.
        device: Where models run.
        overwrite: Whether the first run may replace masks in the folder.

    Attributes:
        folder: As given.
        reader: The video.
        steps: Finished steps of the last run.
    """

    def __init__(
        self,
        video: str | Path,
        folder: str | Path,
        *,
        load: Callable[[str], Model] = str,
        device: str | torch.device | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = local_path(folder)
        self.reader = open_video(local_path(video))
        self.steps = 0
        self._load = load
        self._device = device
        self._may_replace = overwrite
        self._given: dict[int, NDArray[np.int32]] = {}
        self._edited: dict[int, set[int]] = {}
        self._settings: ProjectSettings | None = None

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects that the runs so far have drawn, rising."""
        return tuple(sorted({object_id for mask in self._given.values() for object_id in mask_ids(mask)}))

    def finished(self) -> Iterator[int]:
        """Return the numbers of the frames that have a mask, rising."""
        for frame, name in enumerate(self.reader.all_names):
            if self._settings is not None and (self.folder / f"{name}.png").is_file():
                yield frame

    @property
    def given(self) -> Sequence[int]:
        """Numbers of the frames that have prompts of the runs so far, rising."""
        return sorted(self._edited)

    def mask(self, frame: int) -> NDArray[np.int32] | None:
        """Return the mask that the runs so far have left of a frame, shape (H, W), or None.

        Args:
            frame: Number of the frame, from 0.
        """
        path = self.folder / f"{self.reader.all_names[frame]}.png"
        if self._settings is None or not path.is_file():
            return None
        return np.asarray(read_mask(path, void=None), np.int32)

    def prompted(self, frame: int, prompts: Sequence[Prompt], image: NDArray[np.uint8] | None = None) -> NDArray[Any]:
        """Draw prompts into the mask of a frame.

        Args:
            frame: Number of the frame, from 0.
            prompts: New prompts of this frame. A box redraws its object, also together with points.
            image: The frame, RGB, uint8, (H, W, 3); None reads it from the video.

        Returns:
            The new mask, shape (H, W).

        Raises:
            PromptError: As :func:`vos_zoo.prompts.prompt_mask` says.
            VideoError: If the frame cannot be read.
        """
        if image is None:
            image = self._image(frame)
        previous = self._base(frame)
        for prompt in prompts:
            if isinstance(prompt, Box):
                previous[previous == prompt.object_id] = 0
        return prompt_mask(image, prompts, previous=previous)

    def run(
        self,
        run: ProjectRun,
        *,
        progress: Callable[[int, int], None] | None = None,
        on_frame: Callable[[FrameResult], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int | None:
        """Do one run.

        Args:
            run: The run.
            progress: As :func:`vos_zoo.segment_video` calls it.
            on_frame: As :func:`vos_zoo.segment_video` calls it.
            should_stop: Asked after every step.

        Returns:
            Steps after which it was stopped; None if it was not.

        Raises:
            PromptError: If prompts lead to no mask, or there are none of any run.
            VosZooError: As :func:`vos_zoo.segment_video` says.
        """
        given, edited = dict(self._given), {frame: set(ids) for frame, ids in self._edited.items()}
        for frame, prompts in run.by_frame.items():
            mask = self.prompted(frame, prompts)
            edited.setdefault(frame, set()).update(prompt.object_id for prompt in prompts)
            given[frame] = np.where(np.isin(mask, list(edited[frame])), mask, 0)
        shown = {object_id for mask in given.values() for object_id in mask_ids(mask)}
        if not shown:
            raise PromptError("No object has been pointed out yet. Draw a box around one, or put a point on it.")
        absent = {frame: (ids & shown) - set(mask_ids(given[frame])) for frame, ids in edited.items()}

        def count(done: int, total: int) -> None:
            self.steps = done
            if progress is not None:
                progress(done, total)
            if done < total and (done == run.steps or should_stop()):
                raise _Stop

        before = self._given, self._edited, self._settings
        is_redo, overwrite = run.settings == self._settings, self._may_replace
        self._given, self._edited, self._settings = given, edited, run.settings
        self._may_replace, self.steps = True, 0
        settings = run.settings
        try:
            segment_video(
                self.reader.path,
                {frame: mask for frame, mask in given.items() if mask.any()},
                out=self.folder,
                model=self._load(settings.model),
                device=self._device,
                size=settings.size,
                precision=settings.precision,
                void=None,
                direction=settings.direction,
                absent={frame: ids for frame, ids in absent.items() if ids},
                redo=is_redo,
                overwrite=overwrite and not is_redo,
                progress=count,
                on_frame=on_frame,
            )
        except _Stop:
            return self.steps
        finally:
            if self.steps == 0:  # nothing is different from before
                self._given, self._edited, self._settings = before
        return None

    def _base(self, frame: int) -> NDArray[np.int32]:
        """Return the mask that new prompts of a frame are drawn into."""
        mask = self.mask(frame)
        mask = np.zeros(self.reader.size, np.int32) if mask is None else mask.copy()
        if frame in self._edited:  # a run that was stopped has not written it
            mask[np.isin(mask, list(self._edited[frame]))] = 0
            np.copyto(mask, self._given[frame], where=self._given[frame] > 0)
        return mask

    def _image(self, frame: int) -> NDArray[np.uint8]:
        if not 0 <= frame < len(self.reader):
            raise PromptError(
                f"A prompt belongs to frame {frame}, but the video has {len(self.reader)} frames, counted from 0."
            )
        for found in self.reader.at([frame]):
            return found.image
        raise VideoError(f"`{self.reader.path}` ends before frame {frame}. Repair the file.")


def replay_project(
    project: Project,
    video: str | Path,
    *,
    out: str | Path,
    device: str | torch.device | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayReport:
    """Do what a project says; on the same kind of device, masks are the same, byte for byte.

    Args:
        project: The project.
        video: Its video; see :func:`vos_zoo.segmentation.project.find_project_video`.
        out: Folder for the masks.
        device: Where models run.
        overwrite: Whether masks in the folder may be replaced.
        progress: Called with finished and all frames of the current run.

    Raises:
        PromptError: If the project has no run, or prompts lead to no mask.
        VosZooError: As :func:`vos_zoo.segment_video` says.
    """
    if not project.runs:
        raise PromptError("The project has no run: nothing has been tracked in it yet. Track its objects first.")
    replay = ProjectReplay(video, out, device=device, overwrite=overwrite)
    for run in project.runs:
        replay.run(run, progress=progress)
    return ReplayReport(replay.folder, sum(1 for _ in replay.finished()), replay.objects, len(project.runs))
