"""Plots of tables, of curves and of what happens over a video, drawn with matplotlib, which loads on first use."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.errors import ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DotPanel", "LinePanel", "TimelinePanel", "draw_dots", "draw_lines", "draw_timeline"]

# Okabe and Ito's colours, which stay apart for colour-blind readers.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MUTED, _GRID = "#6e6e6e", "#e1e1e1"
_DOTS_PER_INCH = 150
_ROW, _PANEL_WIDTH, _SINGLE_WIDTH, _PANEL_HEIGHT = 0.26, 3.0, 5.6, 2.6  # inches
_TIMELINE_WIDTH, _TIMELINE_HEIGHT = 9.0, 1.1  # inches
_MOST_MARKED = 30  # points of a line that are marked; more would hide it


@dataclass(frozen=True)
class DotPanel:
    """One measure of a table: our number and the paper's in each row; None where there is none."""

    title: str
    ours: tuple[float | None, ...]
    papers: tuple[float | None, ...]


@dataclass(frozen=True)
class LinePanel:
    """One measure against a length or time.

    Attributes:
        title: Measure and unit.
        lines: Points (x, y) of every line in rising x, by its name; points that are not finite are left out.
        starts_at_zero: Whether the axis begins at 0.
    """

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    starts_at_zero: bool = True


@dataclass(frozen=True)
class TimelinePanel:
    """One measure over the frames of a video.

    Attributes:
        title: Measure and unit.
        frames: Numbers of the frames, rising.
        values: One value for each.
        top: Upper end of the axis; None for that of the values.
    """

    title: str
    frames: Sequence[int]
    values: Sequence[float]
    top: float | None = None


def draw_dots(title: str, labels: Sequence[str], panels: Sequence[DotPanel], *, note: str = "") -> NDArray[np.uint8]:
    """Draw a table: a filled dot for our number, a ring for the paper's, a line for the difference.

    Args:
        title: Heading.
        labels: Names of the rows.
        panels: Measures, side by side, with as many values as there are labels.
        note: A line below the plot.

    Returns:
        RGB, uint8, shape (H, W, 3).
    """
    figure, axes = _figure(len(panels), (max(1.6, 7.6 / len(panels)), _ROW * len(labels) + 0.6), share_y=True)
    rows = range(len(labels))
    for axis, panel in zip(axes, panels, strict=True):
        for row, (ours, papers) in enumerate(zip(panel.ours, panel.papers, strict=True)):
            if ours is not None and papers is not None:
                axis.plot([ours, papers], [row, row], color=_MUTED, linewidth=1, zorder=1)
        for values, name, fill, colour in (
            (panel.papers, "paper", "white", _COLOURS[1]),
            (panel.ours, "measured", _COLOURS[0], _COLOURS[0]),
        ):
            points = [(value, row) for row, value in zip(rows, values, strict=True) if value is not None]
            xs, ys = zip(*points, strict=True) if points else ((), ())
            axis.scatter(xs, ys, s=38, facecolors=fill, edgecolors=colour, linewidths=1.6, label=name, zorder=2)
        axis.set_title(panel.title, fontsize=10)
        axis.grid(axis="x", color=_GRID)
        axis.margins(x=0.12)
    axes[0].set_yticks(rows, labels)
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    return _finish(figure, axes[0], title, note)


def draw_lines(title: str, panels: Sequence[LinePanel], *, axis_title: str, note: str = "") -> NDArray[np.uint8]:
    """Draw measures against a length or time, one panel per measure and one line per name.

    Args:
        title: Heading.
        panels: Measures, side by side, all with lines of the same names.
        axis_title: What the horizontal axis is.
        note: A line below the plot.

    Returns:
        RGB, uint8, shape (H, W, 3).

    Raises:
        ShapeError: If a panel has no finite point.
    """
    for panel in panels:
        if not any(_finite(line) for line in panel.lines.values()):
            raise ShapeError(f"The plot {title!r} has no finite point for {panel.title!r}. Expected one or more.")
    width = _PANEL_WIDTH if len(panels) > 1 else _SINGLE_WIDTH
    figure, axes = _figure(len(panels), (width, _PANEL_HEIGHT))
    for axis, panel in zip(axes, panels, strict=True):
        for number, (name, line) in enumerate(panel.lines.items()):
            points = _finite(line)
            xs, ys = zip(*points, strict=True) if points else ((), ())
            marker = "o" if len(points) <= _MOST_MARKED else ""
            axis.plot(xs, ys, color=_COLOURS[number % len(_COLOURS)], marker=marker, markersize=4, label=name)
        axis.set_title(panel.title, fontsize=10, loc="left")
        axis.set_xlabel(axis_title, fontsize=9, color=_MUTED)
        axis.set_xlim(left=min([0.0, *(x for line in panel.lines.values() for x, _ in _finite(line))]))
        if panel.starts_at_zero:
            axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
        axis.grid(axis="y", color=_GRID)
    return _finish(figure, axes[0], title, note)


def draw_timeline(
    panels: Sequence[TimelinePanel],
    *,
    span: tuple[int, int],
    shaded: Sequence[tuple[int, int]] = (),
    marked: Sequence[int] = (),
) -> str:
    """Draw what happens over a video, one panel below the other.

    Args:
        panels: Measures.
        span: First and last frame of the axis.
        shaded: Ranges of frames (first, last) that are shaded in all panels.
        marked: Frames at which all panels have a dashed line.

    Returns:
        The plot as an ``<svg>`` element that stands for itself.

    Raises:
        ShapeError: If there is no panel.
    """
    if not panels:
        raise ShapeError("The timeline has no panel. Expected one or more.")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_TIMELINE_WIDTH, 0.5 + _TIMELINE_HEIGHT * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        for first, last in shaded:
            axis.axvspan(first - 0.5, last + 0.5, color=_COLOURS[1], alpha=0.25, linewidth=0)
        for frame in marked:
            axis.axvline(frame, color=_COLOURS[2], linewidth=1, linestyle="--")
        marker = "o" if len(panel.frames) <= 1 else ""
        axis.plot(panel.frames, panel.values, color=_COLOURS[0], linewidth=1.4, marker=marker)
        axis.set_ylabel(panel.title, fontsize=8)
        axis.set_ylim(0, panel.top or max([*panel.values, 0]) * 1.05 or 1)
        axis.tick_params(labelsize=8)
        axis.grid(color=_GRID)
        _without_frame(axis)
    axes[-1].set_xlim(span[0] - 0.5, span[1] + 0.5)
    axes[-1].set_xlabel("frame", fontsize=8)
    text = io.StringIO()
    # No date and fixed names inside: the same results make the same page.
    with rc_context({"svg.hashsalt": "vos-zoo"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _figure(panels: int, size: tuple[float, float], *, share_y: bool = False) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * panels + 1.4, size[1] + 1.2), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(1, panels, sharey=share_y, squeeze=False)[0]
    for axis in axes:
        axis.tick_params(labelsize=8.5)
        _without_frame(axis)
    return figure, axes


def _without_frame(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _finish(figure: Figure, named: Axes, title: str, note: str) -> NDArray[np.uint8]:
    """Add heading, legend and note, and give the pixels."""
    handles, names = named.get_legend_handles_labels()
    columns = max(1, min(4, len(names)))
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        title=title,
        title_fontsize=12,
        alignment="left",
        fontsize=9,
        frameon=False,
        ncols=columns,
    )
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=_MUTED)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return np.array(Image.open(content).convert("RGB"))


def _finite(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in line if all(map(math.isfinite, point))]
