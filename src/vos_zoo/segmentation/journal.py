"""What a run has finished, noted beside its masks, so that another run can resume or redo it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.files import atomic_path, parse_json
from vos_zoo.run_file import RUN_FILE, changed_settings
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vos_zoo.media.annotations import Annotations
    from vos_zoo.segmentation.passes import Pass

__all__ = ["GivenNote", "Journal", "note_given"]

_MASK_SETTINGS = ("masks", "mask_reading")  # what given masks come in


@dataclass(frozen=True)
class GivenNote:
    """What a run notes of what a user gave for a frame.

    Attributes:
        digest: A hash of it; the ids count, not how a file stores them.
        objects: Ids that the mask shows, rising.
    """

    digest: str
    objects: tuple[int, ...]


class Journal:
    """The file ``run.json``: settings of the run, how many steps are finished, and notes of the masks given for them.

    It is written after every mask. A mask of an older run may therefore stay where it is until its successor is
    complete: only as much counts as finished as the journal says, whenever a run is killed. A step is one frame of one
    pass; a forward run has as many steps as frames.

    Args:
        folder: Folder of the masks.
        settings: What the masks depend on, as JSON data.
        overlay: The run's overlay video, which may be replaced when the run is resumed, or None.

    Attributes:
        finished: Steps that are noted as finished, counted from the first.
        given: What was given for the frames of these steps, by frame name.
        pending: Windows of frames that a redo has begun and not finished, as ranges of positions.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], overlay: Path | None = None) -> None:
        self._folder = folder
        self._settings = settings
        self._overlay = None if overlay is None else str(overlay.resolve())
        self._outline: list[list[int]] = []
        self._is_complete = False
        self.finished = 0
        self.given: dict[str, GivenNote] = {}
        self.pending: list[range] = []

    def check(self, names: Sequence[str], passes: Sequence[Pass], annotations: Annotations) -> int:
        """Make sure that the run in the folder can be resumed; nothing is written.

        Args:
            names: Names of the frames, in their order.
            passes: The passes of the run.
            annotations: What the user gave.

        Returns:
            Number of steps that the earlier run noted as finished.

        Raises:
            OutputExistsError: If the folder holds masks of unknown origin, or the overlay is a file of another origin.
            ConfigError: If the run had other settings or other given masks, waits for a redo, or its file is damaged.
        """
        run_file = self._folder / RUN_FILE
        if not run_file.is_file():
            if self._folder.is_dir() and any(self._folder.glob("*.png")):
                raise OutputExistsError(
                    f"{self._folder} holds masks but no {RUN_FILE}, so no run can be resumed in it. Choose another "
                    "folder, or replace its masks with overwrite=True (`--overwrite`)."
                )
            return 0
        steps = [position for one in passes for position in one.segmented]
        note = self._read(run_file, self._settings)
        if note.pending:
            raise ConfigError(
                f"A redo in {self._folder} was not finished. Continue with redo=True (`--redo`), or start again with "
                "overwrite=True (`--overwrite`)."
            )
        if note.given is not None:
            seen = steps if note.is_complete else steps[: note.finished]
            visited = dict.fromkeys(names[position] for position in seen)
            now = {name: note_given(annotations, name) for name in visited}
            # Where two passes meet depends on the annotated frames; of a complete run a redo may have moved it.
            is_moved = len(passes) > 1 and not note.is_complete and note.outline != _outline(passes)
            if is_moved or any(found != note.given.get(name) for name, found in now.items()):
                raise ConfigError(
                    f"The given masks have changed since the run in {self._folder} used them: one of its "
                    f"{note.finished} finished frames had a mask that was redrawn, added or removed. Resuming would "
                    "mix results of the old and the new mask. Restore the mask, finish the run, and then segment the "
                    "frames around a change again with redo=True (`--redo`); or start again with overwrite=True "
                    "(`--overwrite`) or in another folder."
                )
        if note.finished is None:  # version 0.1 removed older masks before it began: whatever is there counts
            return len(steps)
        if note.finished > len(steps):
            raise self._damaged(run_file, f"finished is {note.finished}")
        return len(steps) if note.is_complete else note.finished  # a redo may have made what was missing

    def check_redo(self, names: Sequence[str], annotations: Annotations) -> list[str]:
        """Find what changed since the run in the folder; nothing is written.

        Args:
            names: Names of the frames, in their order.
            annotations: What the user gave.

        Returns:
            Names of the frames for which something else is given now, in their order. ``pending`` tells what an
            unfinished run or redo left.

        Raises:
            ConfigError: If there is no run, it had other settings, or its file is damaged.
            OutputExistsError: If the overlay is a file of another origin.
        """
        run_file = self._folder / RUN_FILE
        if not run_file.is_file():
            raise ConfigError(
                f"{self._folder} holds no {RUN_FILE}, so there is no run whose frames could be segmented again. Leave "
                "redo (`--redo`) out to start one."
            )
        # Whatever the masks come in now, their notes say what is new.
        note = self._read(run_file, {key: value for key, value in self._settings.items() if key not in _MASK_SETTINGS})
        if note.given is None:
            raise ConfigError(
                f"The run in {self._folder} was made by a version that did not note its given masks, so that changes "
                "cannot be found. Start again with overwrite=True (`--overwrite`)."
            )
        self.finished, self.given, self.pending = note.finished or 0, note.given, [*note.pending, *note.unfinished()]
        self._outline, self._is_complete = note.outline, True
        known = {*annotations.frames, *annotations.absences, *note.given}
        return [name for name in names if name in known and note_given(annotations, name) != note.given.get(name)]

    def begin(self, passes: Sequence[Pass]) -> None:
        """Note the settings of a run that starts from its first step."""
        self.finished, self.given, self.pending, self._is_complete = 0, {}, [], False
        self._outline = _outline(passes)
        self._write()

    def resume(self, passes: Sequence[Pass], names: Sequence[str], finished: int, annotations: Annotations) -> None:
        """Count steps that an earlier run finished."""
        steps = [position for one in passes for position in one.segmented][:finished]
        self.finished, self._outline = finished, _outline(passes)
        self.given = {}
        for name in dict.fromkeys(names[position] for position in steps):
            self._add(name, note_given(annotations, name))

    def note(self, name: str, given: GivenNote | None) -> None:
        """Note that the next step is finished.

        Args:
            name: Name of its frame.
            given: :func:`note_given` of what the user gave for it.
        """
        self._add(name, given)
        self.finished += 1
        self._write()

    def complete(self) -> None:
        """Note that the run is finished, whatever number of frames was announced."""
        if not self._is_complete:
            self._is_complete = True
            self._write()

    def begin_redo(self, windows: Sequence[range]) -> None:
        """Note which frames are going to be segmented again."""
        self.pending = list(windows)
        self._write()

    def finish_window(self, names: Sequence[str], annotations: Annotations) -> None:
        """Note that the first pending window is finished.

        Args:
            names: Names of all frames, in their order.
            annotations: What the user gave.
        """
        window = self.pending.pop(0)
        for name in names[window.start : window.stop]:
            self.given.pop(name, None)
            self._add(name, note_given(annotations, name))
        self._write()

    def _add(self, name: str, given: GivenNote | None) -> None:
        if given is not None:
            self.given[name] = given

    def _damaged(self, run_file: Path, how: object) -> ConfigError:
        return ConfigError(
            f"{run_file} is damaged ({how}), so its run cannot be resumed. Start again with overwrite=True "
            "(`--overwrite`)."
        )

    def _read(self, run_file: Path, settings: dict[str, Any]) -> _Note:
        """Read the journal of the earlier run, and hold its settings against these."""
        try:
            changed = changed_settings(run_file, settings)
            note = None if changed else _Note.read(run_file)
        except ValueError as error:
            raise self._damaged(run_file, error) from error
        if note is None:
            raise ConfigError(
                f"The run in {self._folder} had other settings: {'; '.join(changed)}. Resume it with the same ones, or "
                "start again with overwrite=True (`--overwrite`) or in another folder."
            )
        if self._overlay is not None and self._overlay != note.overlay and Path(self._overlay).exists():
            raise OutputExistsError(
                f"Overlay `{self._overlay}` exists, and the run in {self._folder} did not write it. Choose another "
                "name, or remove the file."
            )
        return note

    def _write(self) -> None:
        content = {
            "vos_zoo_version": __version__,
            "settings": self._settings,
            "overlay": self._overlay,
            "passes": self._outline,
            "finished": self.finished,
            "complete": self._is_complete,
            "redo": [[window.start, window.stop] for window in self.pending],
            "given_masks": {name: {"digest": one.digest, "objects": one.objects} for name, one in self.given.items()},
        }
        with atomic_path(self._folder / RUN_FILE) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Note:
    """What an earlier run noted."""

    finished: int | None
    given: dict[str, GivenNote] | None
    overlay: str | None = None
    outline: list[list[int]] = field(default_factory=list)
    pending: list[range] = field(default_factory=list)
    is_complete: bool = False

    def unfinished(self) -> Iterator[range]:
        """Return the frames that have no final mask yet, of a run that was stopped."""
        if self.is_complete:
            return
        passes = [
            range(first, last + 1) if first <= last else range(first, last - 1, -1) for first, last in self.outline
        ]
        finished, final = self.finished or 0, set[int]()
        for number, one in enumerate(passes):
            later = {position for after in passes[number + 1 :] for position in after}
            final.update(position for position in one[:finished] if position not in later)
            finished = max(finished - len(one), 0)
        for position in sorted({position for one in passes for position in one} - final):
            yield range(position, position + 1)

    @classmethod
    def read(cls, run_file: Path) -> _Note:
        """Read it.

        Raises:
            ValueError: If it is damaged; the message says how.
        """
        content = parse_json(run_file.read_text(encoding="utf-8"))
        if "finished" not in content:
            return cls(None, None)
        finished, given, outline, redo = (content.get(key) for key in ("finished", "given_masks", "passes", "redo"))
        if type(finished) is not int or finished < 0:
            raise ValueError(f"finished is {finished!r}")
        if given is None:
            return cls(finished, None, content.get("overlay"))
        entries = [*given.values()] if isinstance(given, dict) else [None]
        pairs = [*outline, *redo] if isinstance(outline, list) and isinstance(redo, list) else [None]
        if not all(map(_is_given_note, entries)) or not all(map(_is_pair, pairs)):
            raise ValueError(f"given_masks is {given!r}, passes {outline!r}, redo {redo!r}")
        notes = {name: GivenNote(entry["digest"], tuple(entry["objects"])) for name, entry in given.items()}
        pending = [range(*pair) for pair in redo]
        return cls(finished, notes, content.get("overlay"), outline, pending, content.get("complete") is True)


def note_given(annotations: Annotations, name: str) -> GivenNote | None:
    """Describe what a user gave for a frame; None if nothing was given."""
    mask, absent = annotations.get(name), annotations.absences.get(name, frozenset())
    if mask is None and not absent:
        return None
    digest = hashlib.sha256(f"{sorted(absent)}".encode())
    if mask is not None:
        digest.update(f"{mask.shape}\n".encode())
        digest.update(mask.astype(np.int32).tobytes())
    return GivenNote(digest.hexdigest()[:32], tuple(annotations.shown(name)))


def _outline(passes: Sequence[Pass]) -> list[list[int]]:
    return [[one.segmented[0], one.segmented[-1]] for one in passes]


def _is_given_note(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
        return False
    objects = entry.get("objects")
    return isinstance(objects, list) and all(type(object_id) is int for object_id in objects)


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(number) is int and number >= 0 for number in pair)
