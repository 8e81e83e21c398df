"""Our numbers beside a paper's: as text, Markdown, JSON and plot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vos_zoo.files import atomic_path
from vos_zoo.media.overlay import write_image
from vos_zoo.media.plots import DotPanel, LinePanel, draw_dots, draw_lines
from vos_zoo.registry import find_architecture
from vos_zoo.reproduction.long_video import LongVideoPoint
from vos_zoo.reproduction.tables import PERCENT_MEASURES, RATE_MEASURES, LongVideoFigure, PaperRow, PaperTable
from vos_zoo.version import __version__

_PLOTTED_MEASURES = 4  # panels side by side
_ABSENT = "-"


@dataclass(frozen=True)
class RowResult:
    """A row of a table as it was run here.

    Attributes:
        row: The paper's row.
        status: ``measured``; ``unscored`` if masks were written and only the benchmark's server can score them;
            ``no weight`` if nothing was run.
        weight: Name of the weight; None without one.
        values: Our numbers by measure: scores in percent, and speeds.
        note: What differs from the paper's configuration, or why nothing was run.
        masks: Folder of the masks; None if nothing was run.
    """

    row: PaperRow
    status: Literal["measured", "unscored", "no weight"]
    weight: str | None = None
    values: Mapping[str, float] | None = None
    note: str = ""
    masks: Path | None = None

    def value(self, measure: str) -> float | None:
        """Our number, or None."""
        return None if self.values is None else self.values.get(measure)


@dataclass(frozen=True)
class TableResult:
    """A table as it was run here.

    Attributes:
        table: The paper's table.
        rows: The rows that were asked for.
        measured_on: The videos in words.
        device: What ran the networks, in words; empty if nothing was run.
        is_papers_data: Whether the videos are the paper's.
    """

    table: PaperTable
    rows: tuple[RowResult, ...]
    measured_on: str
    device: str
    is_papers_data: bool

    @property
    def measures(self) -> tuple[str, ...]:
        """Columns: the paper's, and J&F where none of its scores could be measured."""
        scores = [measure for measure in self.table.measures if measure in PERCENT_MEASURES]
        run = [result for result in self.rows if result.status == "measured"]
        is_bare = run and all(result.value(measure) is None for result in run for measure in scores)
        return (*self.table.measures, "J&F") if is_bare and "J&F" not in scores else self.table.measures

    def difference(self, result: RowResult, measure: str) -> float | None:
        """A row's number minus the paper's; None if one of them is missing, or the videos are not the paper's."""
        ours, papers = result.value(measure), result.row.scores.get(measure)
        return None if ours is None or papers is None or not self.is_papers_data else ours - papers

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the comparison has to know."""
        notes = []
        if any(result.status != "no weight" for result in self.rows):
            notes.append("Rows are named as in the paper; a weight's size and training data are on its card.")
        if not self.is_papers_data and any(result.status == "measured" for result in self.rows):
            notes.append("The videos are not the paper's: the numbers cannot be compared, so no differences are shown.")
        if self.device and any(measure in RATE_MEASURES for measure in self.measures):
            notes.append(f"Our speed is that of {self.device}.")
        if self.table.note:
            notes.append(self.table.note)
        return tuple(notes)

    def text(self) -> str:
        """Lay the comparison out for a terminal: three lines per row, ours, the paper's and the difference."""
        lines: list[tuple[str, ...]] = [("", "weight", *self.measures)]
        for result in self.rows:
            if result.status != "no weight":
                ours = tuple(_shown(result.value(measure), measure) for measure in self.measures)
                lines += [
                    (result.row.label, result.weight or _ABSENT, *ours),
                    ("  paper", "", *(_shown(result.row.scores.get(m), m) for m in self.measures)),
                ]
                if self.is_papers_data:
                    lines.append(("  difference", "", *(_signed(self.difference(result, m), m) for m in self.measures)))
        parts = [f"{self.table.name}: {self.table.title} ({self.table.source})", f"Measured on {self.measured_on}."]
        if len(lines) > 1:
            parts.append(_aligned(lines))
        parts += [*self.notes, *_remarks(self.rows, code="")]
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Lay the comparison out as a Markdown page."""
        head = ["", "weight"]
        for measure in self.measures:
            head += [_escaped(measure), "paper", *(["diff."] if self.is_papers_data else [])]
        rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
        for result in self.rows:
            if result.status != "no weight":
                cells = [_escaped(result.row.label), f"`{result.weight}`"]
                for measure in self.measures:
                    papers = _shown(result.row.scores.get(measure), measure)
                    cells += [_shown(result.value(measure), measure), papers]
                    if self.is_papers_data:
                        cells.append(_signed(self.difference(result, measure), measure))
                rows.append(cells)
        parts = [f"# {self.table.name}: {self.table.title}", f"{self.table.source}. Measured on {self.measured_on}."]
        if len(rows) > 2:
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
        parts += [*map(_escaped, self.notes), *_remarks(self.rows, code="`")]
        return "\n\n".join(parts) + "\n"

    def to_json(self, path: Path) -> None:
        """Write every number and where it came from."""
        rows = [
            {
                "name": result.row.name,
                "label": result.row.label,
                "model": result.row.model,
                "status": result.status,
                "weight": result.weight,
                "note": result.note,
                "training_command": result.row.training_command,
                "measured": result.values,
                "paper": result.row.scores,
                "difference": {measure: self.difference(result, measure) for measure in self.measures},
                "masks": None if result.masks is None else str(result.masks),
            }
            for result in self.rows
        ]
        _write_json(
            path,
            {
                "table": self.table.name,
                "title": self.table.title,
                "source": self.table.source,
                "measured_on": self.measured_on,
                "is_papers_data": self.is_papers_data,
                "device": self.device,
                "measures": self.measures,
                "notes": self.notes,
                "rows": rows,
            },
        )

    def plot(self, path: Path) -> bool:
        """Draw the scores; returns False, and draws nothing, if there are none of ours."""
        shown = [result for result in self.rows if result.status == "measured"]
        measures = [m for m in self.measures if m in PERCENT_MEASURES and any(r.value(m) is not None for r in shown)]
        if not measures:
            return False
        measures.sort(key=lambda measure: measure.endswith(("recall", "decay")))  # means first, in the paper's order
        weights = sorted({result.weight or "" for result in shown})
        labels = [
            result.row.label if len(weights) == 1 else f"{result.row.label} ({result.weight})" for result in shown
        ]
        panels = [
            DotPanel(
                f"{measure}, %",
                tuple(result.value(measure) for result in shown),
                tuple(result.row.scores.get(measure) for result in shown),
            )
            for measure in measures[:_PLOTTED_MEASURES]
        ]
        title = f"{self.table.name}: {self.table.title}"
        used = f" with {weights[0]}" if len(weights) == 1 else ""
        note = f"{self.table.source}. Measured{used} on {self.measured_on}."
        write_image(path, draw_dots(title, labels, panels, note=note))
        return True


@dataclass(frozen=True)
class LongVideoRow:
    """A row of a long-video figure: what ran, and its points in rising length."""

    row: PaperRow
    weight: str | None
    points: tuple[LongVideoPoint, ...]
    note: str = ""


@dataclass(frozen=True)
class LongVideoResult:
    """A long-video figure as it was run here.

    Attributes:
        figure: The paper's figure.
        rows: The rows that were asked for.
        video: Name of the original video.
        device: What ran the networks, in words.
    """

    figure: LongVideoFigure
    rows: tuple[LongVideoRow, ...]
    video: str
    device: str

    def text(self) -> str:
        """Lay the points out for a terminal."""
        parts = [f"{self.figure.name}: {self.figure.title} ({self.figure.source})"]
        parts.append(f"Measured on {self.video!r}, on {self.device}.")
        if any(row.points for row in self.rows):
            parts.append(_aligned([_POINT_COLUMNS, *self._lines()]))
        return "\n\n".join([*parts, self.figure.note, *self._missing("")])

    def markdown(self) -> str:
        """Lay the points out as a Markdown page."""
        parts = [f"# {self.figure.name}: {self.figure.title}"]
        parts.append(f"{self.figure.source}. Measured on `{self.video}`, on {self.device}.")
        if any(row.points for row in self.rows):
            rows = [_POINT_COLUMNS, ("---", "---", *["---:"] * (len(_POINT_COLUMNS) - 2)), *self._lines()]
            parts.append("\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows))
        return "\n\n".join([*parts, _escaped(self.figure.note), *self._missing("`")]) + "\n"

    def to_json(self, path: Path) -> None:
        """Write every point."""
        rows = [
            {
                "name": row.row.name,
                "label": row.row.label,
                "model": row.row.model,
                "weight": row.weight,
                "note": row.note,
                "training_command": row.row.training_command,
                "points": [{**asdict(point), "j_and_f": point.j_and_f} for point in row.points],
            }
            for row in self.rows
        ]
        _write_json(
            path,
            {
                "table": self.figure.name,
                "title": self.figure.title,
                "source": self.figure.source,
                "video": self.video,
                "device": self.device,
                "rows": rows,
            },
        )

    def plot(self, path: Path) -> bool:
        """Draw J&F, speed and memory against the length; returns False, and draws nothing, if there are no points."""
        shown = [row for row in self.rows if row.points]
        if not shown:
            return False

        def lines(measure: Callable[[LongVideoPoint], float]) -> dict[str, list[tuple[float, float]]]:
            return {
                f"{row.row.label} ({row.weight})": [(point.length, measure(point)) for point in row.points]
                for row in shown
            }

        panels = [
            LinePanel("J&F, %", lines(lambda point: 100 * point.j_and_f), starts_at_zero=False),
            LinePanel("frames/s", lines(lambda point: point.frames_per_second)),
            LinePanel("memory, MiB", lines(lambda point: point.memory_bytes / 2**20)),
        ]
        first = shown[0].points[0]
        picture = draw_lines(
            f"{self.figure.name}: {self.figure.title}",
            panels,
            axis_title="length in multiples of the original",
            note=f"{self.video}, {first.frames // first.length} frames; {self.device}",
        )
        write_image(path, picture)
        return True

    def _lines(self) -> list[tuple[str, ...]]:
        return [
            (
                row.row.label,
                row.weight or _ABSENT,
                str(point.length),
                str(point.frames),
                f"{100 * point.j_and_f:.1f}",
                f"{100 * point.region:.1f}",
                f"{100 * point.boundary:.1f}",
                f"{point.frames_per_second:.2f}",
                f"{point.last_frames_per_second:.2f}",
                f"{point.memory_bytes / 2**20:.1f}",
            )
            for row in self.rows
            for point in row.points
        ]

    def _missing(self, code: str) -> list[str]:
        lines = [_missing_line(row.row, row.note, code) for row in self.rows if row.weight is None]
        return ["Not run:\n\n" + "\n".join(lines)] if lines else []


_POINT_COLUMNS = ("", "weight", "length", "frames", "J&F", "J", "F", "frames/s", "at the end", "memory, MiB")


def _remarks(rows: Sequence[RowResult], *, code: str) -> list[str]:
    """Say what was run otherwise than in the paper, not scored, and not run."""
    parts = []
    if noted := [
        f"- {result.row.label}: {result.note}" for result in rows if result.status == "measured" and result.note
    ]:
        parts.append("Run otherwise than in the paper:\n\n" + "\n".join(noted))
    if unscored := [f"- {r.row.label}: {code}{r.masks}{code}" for r in rows if r.status == "unscored"]:
        parts.append(
            "The annotations hold only the given masks, so the benchmark's server has to score these results:\n\n"
            + "\n".join(unscored)
        )
    if missing := [_missing_line(r.row, r.note, code) for r in rows if r.status == "no weight"]:
        parts.append("Not run:\n\n" + "\n".join(missing))
    return parts


def _missing_line(row: PaperRow, note: str, code: str) -> str:
    train = f"Train one with {code}{row.training_command}{code}"
    if find_architecture(row.model).converter is not None and not row.has_own_training:
        train = f"Convert the authors' file with {code}vos-zoo convert{code}, or {train[0].lower()}{train[1:]}"
    proposals = f" and its proposals as {code}--proposals {row.name}=FOLDER{code}" if row.proposals else ""
    return f"- {row.label}: {note}. {train}, and give it as {code}--weights {row.name}=FOLDER{code}{proposals}."


def _shown(value: float | None, measure: str) -> str:
    if value is None or math.isnan(value):
        return _ABSENT
    return f"{value:.1f}" if measure in PERCENT_MEASURES or value >= 10 else f"{value:.2f}"


def _signed(value: float | None, measure: str) -> str:
    if value is None or math.isnan(value):
        return _ABSENT
    digits = 1 if measure in PERCENT_MEASURES or abs(value) >= 10 else 2
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # adding zero turns a rounded -0.0 into 0.0


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align the first two columns left and the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _escaped(text: str) -> str:
    """Keep Markdown from reading stars, underscores and angles as its own."""
    return "".join(f"\\{letter}" if letter in "*_<>|" else letter for letter in text)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    content = {"vos_zoo_version": __version__, **content}
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
