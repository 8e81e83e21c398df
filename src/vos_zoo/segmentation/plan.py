"""What a run is going to read and write, checked before anything is written or a model takes time to load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.files import check_outputs, local_path
from vos_zoo.interchange.probabilities import PROBABILITIES_FOLDER
from vos_zoo.run_file import RUN_FILE
from vos_zoo.segmentation.confidence import OBJECTS_FILE
from vos_zoo.segmentation.inputs import open_inputs
from vos_zoo.segmentation.journal import Journal
from vos_zoo.segmentation.passes import plan_passes
from vos_zoo.segmentation.redo import redo_windows, retracked_frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.absences import AbsentObjects
    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.media.in_memory import FrameSource
    from vos_zoo.media.levels import LevelsChoice
    from vos_zoo.media.mask_values import VoidChoice
    from vos_zoo.segmentation.inputs import Inputs
    from vos_zoo.segmentation.passes import Direction, Pass

__all__ = ["OVERLAY_FILE", "Outputs", "Plan", "plan_run"]

OVERLAY_FILE = "overlay.mp4"


@dataclass(frozen=True)
class Outputs:
    """Where a run writes, and what may be there already.

    Attributes:
        folder: Folder of the masks.
        overlay: The overlay video; None if none is asked for.
        views: Folder of a view's images; None if none is asked for.
        resume: Whether to continue an earlier run in the folder.
        redo: Whether frames of a finished run are segmented again.
        overwrite: Whether results of an earlier run are replaced.
        saves_probabilities: Whether the probabilities of objects are written beside the masks.
    """

    folder: Path
    overlay: Path | None
    views: Path | None
    resume: bool
    redo: bool
    overwrite: bool
    saves_probabilities: bool = False

    @classmethod
    def below(
        cls,
        out: str | Path,
        *,
        overlay: bool | str | Path,
        show: str | None,
        resume: bool,
        redo: bool,
        overwrite: bool,
        save_probabilities: bool = False,
    ) -> Outputs:
        """Give every output its place; see :func:`vos_zoo.segment_video` for the arguments.

        Raises:
            ConfigError: If two of resume, redo and overwrite are given.
        """
        chosen = [name for name, is_on in (("resume", resume), ("redo", redo), ("overwrite", overwrite)) if is_on]
        if len(chosen) > 1:
            raise ConfigError(
                f"Both {chosen[0]} and {chosen[1]} were given. Resume keeps finished masks, redo replaces those around "
                "what changed, overwrite replaces all."
            )
        folder = local_path(out)
        video = (folder / OVERLAY_FILE if overlay is True else local_path(overlay)) if overlay else None
        views = None if show is None else folder / show
        return cls(folder, video, views, resume, redo, overwrite, save_probabilities)

    def check(self, inputs: Iterable[str | Path], names: Sequence[str]) -> None:
        """Refuse outputs that are inputs, and an overlay that nobody allowed to replace; nothing is written.

        Raises:
            OutputExistsError: If one of the outputs exists and must stay.
        """
        check_outputs(self._files(names), inputs)
        if self.overlay is not None and self.overlay.exists() and not (self.resume or self.redo or self.overwrite):
            raise OutputExistsError(
                f"Overlay `{self.overlay}` exists. Choose another name, resume its run with resume=True (`--resume`), "
                "or replace it with overwrite=True (`--overwrite`)."
            )

    def _files(self, names: Sequence[str]) -> Iterator[Path]:
        yield from filter(None, (self.folder, self.overlay, self.views, self.folder / RUN_FILE))
        yield self.folder / OBJECTS_FILE
        if self.saves_probabilities:
            yield self.folder / PROBABILITIES_FOLDER
        yield from (self.folder / f"{name}.png" for name in names)


@dataclass(frozen=True)
class Plan:
    """A run whose inputs are open and whose outputs are free.

    Attributes:
        inputs: Frames and given masks.
        outputs: Where results go.
        journal: Note of what is finished.
        windows: The passes of the run; of a redo, those of every window of frames that is segmented again.
        noted: Steps that the journal of an earlier run, which is to be resumed, says are finished.
        is_redo: Whether a finished run is corrected.
    """

    inputs: Inputs
    outputs: Outputs
    journal: Journal
    windows: list[list[Pass]]
    noted: int
    is_redo: bool


def plan_run(
    video: FrameSource,
    masks: MaskSource,
    outputs: Outputs,
    *,
    settings: Mapping[str, Any],
    model_folder: Path | None,
    side_inputs: Mapping[str, str | Path],
    start: int | None,
    end: int | None,
    every: int,
    levels: LevelsChoice,
    color: ColorOrder,
    resize_mask: bool,
    void: VoidChoice,
    direction: Direction,
    absent: AbsentObjects | None,
    mask_reading: MaskReading | None = None,
) -> Plan:
    """Open what is read, and check what people get wrong most often; nothing is written.

    Args:
        video: The frames.
        masks: The given masks.
        outputs: Where results go.
        settings: The network and how it runs, as JSON data.
        model_folder: Folder of the network's weights; None if it is in memory, or its name means no folder.
        side_inputs: Paths of what the network takes beside frames and masks.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Take every n-th frame only.
        levels: Which values of frames of more than 8 bits become 0 and 255.
        color: Order of the colours of frames in memory.
        resize_mask: Whether masks of another size are resampled.
        void: The value of mask pixels without an opinion.
        direction: Where to go from the annotated frames.
        absent: Objects that frames do not show.
        mask_reading: What decides where given masks can be read in two ways.

    Raises:
        VosZooError: As :func:`vos_zoo.segment_video` says, for everything but the model.
    """
    inputs = open_inputs(
        video,
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
    names = inputs.reader.names
    read = [*inputs.paths, *side_inputs.values(), *filter(None, [model_folder])]
    outputs.check(read, names if inputs.reader.has_known_length else ())
    journal = Journal(
        outputs.folder,
        {
            "video": inputs.video_id,
            "masks": inputs.masks_id,
            **settings,
            "start": start,
            "end": end,
            "every": every,
            # Nothing for the usual choices, so that runs of older versions can be resumed.
            "levels": list(levels) if isinstance(levels, tuple) else levels,
            "resize_mask": resize_mask,
            "direction": None if direction == "forward" else direction,
            "void": None if void == "auto" else str(void).lower(),
            "mask_reading": (mask_reading.settings() or None) if mask_reading is not None else None,
            "side_inputs": {name: str(Path(path).resolve()) for name, path in side_inputs.items()},
        },
        outputs.overlay,
    )
    passes = plan_passes(direction, inputs.annotated, len(names))
    if outputs.redo:
        return Plan(inputs, outputs, journal, _plan_redo(inputs, journal, direction), 0, is_redo=True)
    noted = journal.check(names, passes, inputs.annotations) if outputs.resume else 0
    return Plan(inputs, outputs, journal, [passes], noted, is_redo=False)


def _plan_redo(inputs: Inputs, journal: Journal, direction: Direction) -> list[list[Pass]]:
    """Plan the passes of every window that changes of the given masks call for; the journal learns the windows."""
    names = inputs.reader.names
    changed = set(journal.check_redo(names, inputs.annotations))
    given = {*inputs.annotations.frames, *inputs.annotations.absences}
    before: dict[int, list[int]] = {}
    now: dict[int, list[int]] = {}
    for position, name in enumerate(names):
        for object_id in journal.given[name].objects if name in journal.given else ():
            before.setdefault(object_id, []).append(position)
        for object_id in inputs.annotations.shown(name) if name in given else ():
            now.setdefault(object_id, []).append(position)
    journal.pending = redo_windows(
        [position for position, name in enumerate(names) if name in changed],
        [position for position, name in enumerate(names) if name in given],
        len(names),
        direction,
        [*journal.pending, *retracked_frames(before, now, len(names), direction)],
    )
    return [plan_passes(direction, inputs.annotated, len(names), window=window) for window in journal.pending]
