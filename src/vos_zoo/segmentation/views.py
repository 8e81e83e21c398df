"""Writing what a model shows beside its masks: a heat map per frame, and its mean over time."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.errors import ConfigError
from vos_zoo.files import atomic_path
from vos_zoo.media.overlay import draw_heatmap, write_image
from vos_zoo.media.plots import LinePanel, draw_lines

if TYPE_CHECKING:
    from types import TracebackType

    from vos_zoo.inference.session import FrameView
    from vos_zoo.media.frames import VideoFrame

__all__ = ["CHART_FILE", "TABLE_FILE", "ViewWriter"]

TABLE_FILE, CHART_FILE = "mean.csv", "mean.png"
_COLUMNS = ("frame", "name", "least", "most")  # the others are means
_SUFFIX = ".jpg"  # images for people; a PNG of a filmed frame is ten times as large


class ViewWriter:
    """A folder of heat maps named like the frames, with ``mean.csv`` and its chart ``mean.png``.

    Table and chart are written when the block ends, by an error too.

    Args:
        folder: Where to write; made if it does not exist.
        name: What is shown, for the chart.
        resume: Keep the rows of an earlier run for frames that this one does not segment again.

    Attributes:
        folder: As given.
        name: As given.

    Raises:
        ConfigError: If the earlier run's table is no such table.
    """

    def __init__(self, folder: Path, name: str, *, resume: bool = False) -> None:
        self.folder = folder
        self.name = name
        self._rows: dict[int, dict[str, str]] = {}
        table = folder / TABLE_FILE
        if resume and table.is_file():
            try:
                with table.open(newline="", encoding="utf-8") as file:
                    self._rows = {int(row["frame"]): row for row in csv.DictReader(file)}
            except (ValueError, KeyError, csv.Error) as error:
                raise ConfigError(
                    f"{table} is damaged ({error!r}), so its run cannot be resumed. Remove it, or start again with "
                    "overwrite=True (`--overwrite`)."
                ) from error

    def __enter__(self) -> ViewWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, frame: VideoFrame, view: FrameView | None) -> None:
        """Draw the map of a frame over it; a frame without one gets no file.

        Args:
            frame: The frame.
            view: What the session gave for it.
        """
        if view is None:
            return
        # Colours span the frame's own values: what stands out in a frame may differ by little. The table has the range.
        write_image(self.folder / f"{frame.name}{_SUFFIX}", draw_heatmap(frame.image, view.map))
        numbers = {"least": float(view.map.min()), "most": float(view.map.max()), **view.means}
        written = {name: f"{value:.6f}" for name, value in numbers.items()}
        self._rows[frame.index] = {"frame": str(frame.index), "name": frame.name, **written}

    def close(self) -> None:
        """Write the table and the chart; without any map there are none."""
        if not self._rows:
            return
        rows = [self._rows[index] for index in sorted(self._rows)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        with atomic_path(self.folder / TABLE_FILE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, names, restval="")
            table.writeheader()
            table.writerows(rows)
        curves = {
            f"against the {name}" if name != "memory" else "against the memory": [
                (float(row["frame"]), float(row[name])) for row in rows if row.get(name)
            ]
            for name in names[len(_COLUMNS) :]
        }
        mean = LinePanel("mean", curves, starts_at_zero=False)
        chart = draw_lines(f"Mean of the {self.name} map", [mean], axis_title="frame")
        write_image(self.folder / CHART_FILE, chart)
