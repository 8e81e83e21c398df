"""Where a run is doubtful: ``objects.csv`` beside the masks, and which objects look lost."""

from __future__ import annotations

import contextlib
import csv
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from vos_zoo.inference.confidence import ObjectState

__all__ = ["OBJECTS_FILE", "ObjectRow", "ObjectTable", "flag_lost", "read_objects"]

OBJECTS_FILE = "objects.csv"
_COLUMNS = (
    "frame", "name", "object", "area", "left", "top", "right", "bottom", "x", "y",
    "probability", "margin", "given", "is_lost",
)  # fmt: skip

# Chosen on the seven development clips with `rde.small`; benchmarks/confidence.py prints what they find and miss.
COLLAPSED = 0.25  # of the usual area
DOUBTFUL = 0.7  # mean probability inside
_USUAL_OF = 10  # frames whose median area is the usual one


@dataclass(frozen=True)
class ObjectRow:
    """A row of the table: one object in one frame.

    Attributes:
        frame: Number of the frame in the whole video.
        name: Name of the frame.
        state: What was measured.
        is_given: Whether the user gave the object's mask there, or said that it is absent.
        is_lost: Whether the object looks lost; see :func:`flag_lost`.
    """

    frame: int
    name: str
    state: ObjectState
    is_given: bool = False
    is_lost: bool = False


def flag_lost(rows: Sequence[ObjectRow]) -> list[ObjectRow]:
    """Say of one object in which frames it looks lost.

    It does where it has no pixel, where its area collapses to less than a quarter of the usual one (the median of the
    last ten frames in which it was not lost, seen from the annotation), or where the mean probability inside its mask
    is below 0.7. Where the user gave it or said that it is absent, it is not lost.

    Args:
        rows: Rows of one object, rising by frame.

    Returns:
        The rows with ``is_lost`` set.
    """
    first = next((number for number, row in enumerate(rows) if row.is_given and row.state.area), 0)
    before = _flag_in_order(rows[first::-1])[:0:-1] if first else []
    return [*before, *_flag_in_order(rows[first:])]


def _flag_in_order(rows: Sequence[ObjectRow]) -> list[ObjectRow]:
    usual: list[int] = []
    flagged = []
    for row in rows:
        state, is_lost = row.state, False
        if row.is_given:
            usual = [state.area] if state.area else usual
        else:
            is_collapsed = bool(usual) and state.area < COLLAPSED * statistics.median(usual)
            is_lost = state.area == 0 or is_collapsed or state.probability < DOUBTFUL
            if not is_lost:
                usual = [*usual, state.area][-_USUAL_OF:]
        flagged.append(replace(row, is_lost=is_lost))
    return flagged


def flag_all(rows: Iterable[ObjectRow]) -> list[ObjectRow]:
    """Flag the rows of all objects, and sort them by frame and object."""
    by_object: dict[int, list[ObjectRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.frame):
        by_object[row.state.object_id].append(row)
    flagged = [row for one in by_object.values() for row in flag_lost(one)]
    return sorted(flagged, key=lambda row: (row.frame, row.state.object_id))


class ObjectTable:
    """The file ``objects.csv`` of a run: a row for every object in every frame, at once on the disk.

    Rows are appended while the run continues; when the block ends, also by an error, the table is sorted and the
    column ``is_lost`` is filled in. Of a run that was killed, the last row of a frame and object counts.

    Args:
        folder: Folder of the masks.
        resume: Keep the rows of an earlier run for frames that this one does not segment again.

    Raises:
        ConfigError: If the earlier run's table is no such table.
    """

    def __init__(self, folder: Path, *, resume: bool = False) -> None:
        self._path = folder / OBJECTS_FILE
        self._rows: dict[tuple[int, int], ObjectRow] = {}
        if resume and self._path.is_file():
            self._rows = {(row.frame, row.state.object_id): row for row in read_objects(self._path)}

    def __enter__(self) -> ObjectTable:
        self._rewrite(self._rows.values())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A full disk that ended the run must not be replaced by this one's error.
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self._rewrite(flag_all(self._rows.values()))

    def write(self, frame: int, name: str, states: Sequence[ObjectState], given: Iterable[int]) -> None:
        """Add the objects of a frame, in place of those that an earlier run noted there.

        Args:
            frame: Number of the frame in the whole video.
            name: Name of the frame.
            states: Its objects.
            given: Objects that the user gave there, or said to be absent.
        """
        given = frozenset(given)
        for key in [key for key in self._rows if key[0] == frame]:
            del self._rows[key]
        rows = [ObjectRow(frame, name, state, state.object_id in given) for state in states]
        self._rows.update({(frame, row.state.object_id): row for row in rows})
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(map(_to_cells, rows))

    def _rewrite(self, rows: Iterable[ObjectRow]) -> None:
        with atomic_path(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            table.writerows(map(_to_cells, rows))


def read_objects(path: Path) -> list[ObjectRow]:
    """Read a table of objects, and compute ``is_lost`` again.

    Args:
        path: The file ``objects.csv``.

    Returns:
        Rows, rising by frame and object.

    Raises:
        MissingFileError: If there is no such file.
        ConfigError: If it is no such table.
    """
    if not path.is_file():
        raise MissingFileError(
            f"There is no `{path}`. `vos-zoo segment` writes it beside the masks; segment the video again."
        )
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if tuple(table.fieldnames or ()) != _COLUMNS:
                raise ValueError(f"its columns are {table.fieldnames}")
            rows = {(row.frame, row.state.object_id): row for row in map(_from_cells, table)}
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise ConfigError(f"`{path}` is damaged ({error}). Remove it, and segment the video again.") from error
    return flag_all(rows.values())


def _to_cells(row: ObjectRow) -> list[object]:
    state = row.state
    box: Sequence[object] = state.box if state.box is not None else [""] * 4
    centroid: Sequence[object] = [""] * 2 if state.centroid is None else [f"{side:.2f}" for side in state.centroid]
    sure = [f"{state.probability:.4f}", f"{state.margin:.4f}"]
    return [
        row.frame, row.name, state.object_id, state.area, *box, *centroid, *sure, int(row.is_given), int(row.is_lost),
    ]  # fmt: skip


def _from_cells(cells: dict[str, str]) -> ObjectRow:
    from vos_zoo.inference.confidence import ObjectState

    left, top, right, bottom = (int(cells[key] or -1) for key in ("left", "top", "right", "bottom"))
    area = int(cells["area"])
    state = ObjectState(
        object_id=int(cells["object"]),
        area=area,
        box=(left, top, right, bottom) if area else None,
        centroid=(float(cells["x"]), float(cells["y"])) if area else None,
        probability=float(cells["probability"]),
        margin=float(cells["margin"]),
    )
    return ObjectRow(int(cells["frame"]), cells["name"], state, cells["given"] == "1", cells["is_lost"] == "1")
