"""What an evaluation found, as numbers, as a text table and as files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vos_zoo.errors import EvaluationError, MissingFileError
from vos_zoo.files import atomic_path, parse_json, printable
from vos_zoo.metrics.breakdowns import BreakdownRow
from vos_zoo.metrics.functional import Statistics
from vos_zoo.metrics.protocols import ObjectScore, mean_over

_FORMAT_VERSION = 1
_GLOBAL_COLUMNS = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
_SEQUENCE_COLUMNS = ("Sequence", "J-Mean", "F-Mean")


@dataclass(frozen=True)
class SequenceScore:
    """Summary of one sequence.

    Attributes:
        name: Name of the sequence.
        region: Mean J over its objects, 0 to 1; NaN when nothing is scored.
        boundary: Mean F over its objects, 0 to 1; NaN when nothing is scored.
        objects: Number of scored objects.
        extra_ids: Ids in the results that are not objects of the sequence; they were ignored.
    """

    name: str
    region: float
    boundary: float
    objects: int
    extra_ids: tuple[int, ...]

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.region + self.boundary) / 2


@dataclass(frozen=True)
class CategorySplit:
    """Scores of the objects of seen or of unseen categories (YouTube-VOS).

    Attributes:
        region: Mean J over the objects, 0 to 1.
        boundary: Mean F over the objects, 0 to 1.
        objects: Number of objects.
    """

    region: float
    boundary: float
    objects: int


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of one folder of results against its annotations.

    All scores are 0 to 1. Means are taken over objects, as DAVIS and YouTube-VOS do, not over sequences or frames;
    objects without a scored frame are listed but count nowhere.

    Attributes:
        protocol: Name of the protocol.
        set_name: Short name of the set of sequences, used in file names.
        bound: Tolerance of F.
        sequence_names: All evaluated sequences.
        objects: Scores of every object, by sequence and id.
        extra_ids: Per sequence, in the order of ``sequence_names``, the ids in the results that were ignored.
        breakdowns: Rows of the breakdowns that were asked for.
    """

    protocol: str
    set_name: str
    bound: float
    sequence_names: tuple[str, ...]
    objects: tuple[ObjectScore, ...]
    extra_ids: tuple[tuple[int, ...], ...]
    breakdowns: tuple[BreakdownRow, ...] = ()

    @property
    def scored_objects(self) -> tuple[ObjectScore, ...]:
        """Objects with at least one scored frame."""
        return tuple(score for score in self.objects if score.is_scored)

    @property
    def region(self) -> Statistics:
        """Mean, recall and decay of J, averaged over objects."""
        return _mean_statistics(score.region for score in self.scored_objects)

    @property
    def boundary(self) -> Statistics:
        """Mean, recall and decay of F, averaged over objects."""
        return _mean_statistics(score.boundary for score in self.scored_objects)

    @property
    def j_and_f(self) -> float:
        """Mean of the J mean and the F mean."""
        return (self.region.mean + self.boundary.mean) / 2

    @property
    def sequences(self) -> tuple[SequenceScore, ...]:
        """One summary per sequence, averaged over its objects."""
        return tuple(
            self._sequence(name, extra) for name, extra in zip(self.sequence_names, self.extra_ids, strict=True)
        )

    @property
    def seen(self) -> CategorySplit | None:
        """Objects whose category was seen in training; None if there are none or it is unknown."""
        return self._split(is_seen=True)

    @property
    def unseen(self) -> CategorySplit | None:
        """Objects whose category was not seen in training; None if there are none or it is unknown."""
        return self._split(is_seen=False)

    @property
    def g(self) -> float | None:
        """YouTube-VOS's overall score: mean of J and F, seen and unseen; None without both splits."""
        seen, unseen = self.seen, self.unseen
        if seen is None or unseen is None:
            return None
        return mean_over([seen.region, seen.boundary, unseen.region, unseen.boundary])

    def table(self, *, per_object: bool = True) -> str:
        """Lay the scores out for a terminal, in percent.

        Args:
            per_object: Whether every object gets a row.

        Returns:
            Lines of plain text, at most 100 columns for names of ordinary length. Names of folders may hold anything;
            control characters in them are escaped.
        """
        blocks = [self._overall_table()]
        if self.g is not None:
            blocks.append(self._split_table())
        if self.breakdowns:
            blocks.append(_breakdown_table(self.breakdowns))
        if per_object:
            blocks.append(self._object_table())
        return "\n\n".join([*blocks, *self._notes()])

    def to_json(self, path: str | Path) -> None:
        """Write everything, with the scores of every frame, as JSON; :meth:`from_json` reads it back."""
        content = {
            "format_version": _FORMAT_VERSION,
            "protocol": self.protocol,
            "set_name": self.set_name,
            "bound": self.bound,
            "overall": {
                "j_and_f": self.j_and_f,
                "region": asdict(self.region),
                "boundary": asdict(self.boundary),
                "g": self.g,
                "seen": None if (seen := self.seen) is None else asdict(seen),
                "unseen": None if (unseen := self.unseen) is None else asdict(unseen),
            },
            "sequence_names": self.sequence_names,
            "extra_ids": self.extra_ids,
            "breakdowns": [asdict(row) for row in self.breakdowns],
            "objects": [asdict(score) for score in self.objects],
        }
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(_without_nan(content), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | Path) -> EvaluationReport:
        """Read a report that :meth:`to_json` wrote.

        Raises:
            MissingFileError: If the file does not exist.
            EvaluationError: If it is no such report.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(
                f"There is no report `{path}`. Expected a file that `to_json` wrote. Check the path."
            )
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            if content["format_version"] != _FORMAT_VERSION:
                raise EvaluationError(
                    f"The report `{path}` has format version {content['format_version']!r}, this release reads "
                    f"{_FORMAT_VERSION}. Evaluate the results again."
                )
            return cls(
                protocol=content["protocol"],
                set_name=content["set_name"],
                bound=content["bound"],
                sequence_names=tuple(content["sequence_names"]),
                objects=tuple(_object_from_json(entry) for entry in content["objects"]),
                extra_ids=tuple(tuple(ids) for ids in content["extra_ids"]),
                breakdowns=tuple(BreakdownRow(**_with_nan(row)) for row in content["breakdowns"]),
            )
        except EvaluationError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(
                f"`{path}` is not an evaluation report ({error!r}). Expected a file that `to_json` wrote. "
                "Evaluate the results again."
            ) from error

    def to_csv(self, folder: str | Path) -> tuple[Path, Path]:
        """Write the two tables of the DAVIS evaluation, with its file names and columns.

        Args:
            folder: Where ``global_results-<set>.csv`` and ``per-sequence_results-<set>.csv`` go. Files that are already
                there are replaced.

        Returns:
            The two paths. Scores are 0 to 1, with all digits; a row of the second table is ``<sequence>_<object>``. A
            name that a spreadsheet would take for a formula gets an apostrophe before it.
        """
        region, boundary = self.region, self.boundary
        overall = (self.j_and_f, *_numbers(region), *_numbers(boundary))
        rows = [(_cell(score.name), score.region.mean, score.boundary.mean) for score in self.objects]
        global_path = Path(folder) / f"global_results-{self.set_name}.csv"
        sequence_path = Path(folder) / f"per-sequence_results-{self.set_name}.csv"
        _write_csv(global_path, _GLOBAL_COLUMNS, [overall])
        _write_csv(sequence_path, _SEQUENCE_COLUMNS, rows)
        return global_path, sequence_path

    def _sequence(self, name: str, extra_ids: tuple[int, ...]) -> SequenceScore:
        scores = [score for score in self.scored_objects if score.sequence == name]
        region, boundary = (mean_over([getattr(s, kind).mean for s in scores]) for kind in ("region", "boundary"))
        return SequenceScore(name, region, boundary, len(scores), extra_ids)

    def _split(self, *, is_seen: bool) -> CategorySplit | None:
        scores = [score for score in self.scored_objects if score.is_seen is is_seen]
        if not scores:
            return None
        region, boundary = (mean_over([getattr(s, kind).mean for s in scores]) for kind in ("region", "boundary"))
        return CategorySplit(region, boundary, len(scores))

    def _overall_table(self) -> str:
        head = f"{self.protocol}: {len(self.scored_objects)} objects in {len(self.sequence_names)} sequences"
        numbers = (self.j_and_f, *_numbers(self.region), *_numbers(self.boundary))
        return head + "\n" + _columns([_GLOBAL_COLUMNS, [_percent(number) for number in numbers]])

    def _split_table(self) -> str:
        rows = [("", "objects", "J", "F")]
        for name, split in (("seen", self.seen), ("unseen", self.unseen)):
            assert split is not None
            rows.append((name, str(split.objects), _percent(split.region), _percent(split.boundary)))
        assert self.g is not None
        return _columns(rows) + f"\nG {_percent(self.g)}"

    def _object_table(self) -> str:
        rows: list[Sequence[str]] = [
            ("object", "frames", "J&F", "J", "J-Recall", "J-Decay", "F", "F-Recall", "F-Decay")
        ]
        for score in self.objects:
            numbers = (score.j_and_f, *_numbers(score.region), *_numbers(score.boundary))
            rows.append((printable(score.name), str(len(score.frames)), *(_percent(number) for number in numbers)))
        return _columns(rows)

    def _notes(self) -> list[str]:
        notes = []
        if unscored := [score.name for score in self.objects if not score.is_scored]:
            notes.append(f"Without a scored frame, left out of all means: {', '.join(map(printable, unscored))}.")
        ignored = [
            f"{printable(sequence.name)} ({', '.join(map(str, sequence.extra_ids))})"
            for sequence in self.sequences
            if sequence.extra_ids
        ]
        if ignored:
            notes.append(f"Ids in the results that no annotation has, ignored: {', '.join(ignored)}.")
        return notes


def _breakdown_table(rows: Sequence[BreakdownRow]) -> str:
    head: tuple[str, ...] = ("breakdown", "group", "J&F", "J", "F", "objects", "frames")
    body = [
        (row.breakdown, row.group, _percent(row.j_and_f), _percent(row.region), _percent(row.boundary),
         str(row.objects), str(row.frames))
        for row in rows
    ]  # fmt: skip
    return _columns([head, *body])


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Align the first column left and the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if column == 0 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _percent(score: float) -> str:
    # Adding zero turns a rounded -0.0 into 0.0.
    return "-" if math.isnan(score) else f"{round(100 * score, 1) + 0.0:.1f}"


def _numbers(statistics: Statistics) -> tuple[float, float, float]:
    return statistics.mean, statistics.recall, statistics.decay


def _mean_statistics(statistics: Iterable[Statistics]) -> Statistics:
    listed = list(statistics)
    return Statistics(*(mean_over([getattr(s, name) for s in listed]) for name in ("mean", "recall", "decay")))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _cell(text: str) -> str:
    """Keep a spreadsheet from running a name. Source: OWASP, "CSV Injection"."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _without_nan(content: Any) -> Any:
    """Replace NaN, which JSON does not know, by null."""
    if isinstance(content, float) and math.isnan(content):
        return None
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return content


def _with_nan(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in entry.items()}


def _object_from_json(entry: dict[str, Any]) -> ObjectScore:
    lists = ("frames", "region_by_frame", "boundary_by_frame", "areas")
    return ObjectScore(
        **{
            **entry,
            **{name: tuple(entry[name]) for name in lists},
            **{name: Statistics(**_with_nan(entry[name])) for name in ("region", "boundary")},
        }
    )
