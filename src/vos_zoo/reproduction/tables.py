"""What the papers measured: every table that our models have rows in, as plain data.

All numbers are in ``paper_tables.json``, each table with its place in the paper, and nowhere else. This module imports
no torch.
"""

from __future__ import annotations

import difflib
import functools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vos_zoo.errors import ConfigError

OBJECT_COUNTS = range(1, 6)
"""Numbers of objects by which videos are told apart."""


def of_count(measure: str, objects: int) -> str:
    """Name a measure over the videos of one number of objects.

    Example:
        >>> of_count("J&F", 2)
        'J&F 2 objects'
    """
    return f"{measure} {objects} object{'s' if objects > 1 else ''}"


def of_part(part: str) -> str:
    """Name the time of a part of a network.

    Example:
        >>> of_part("BFE")
        'BFE s/frame'
    """
    return f"{part} s/frame"


PERCENT_MEASURES = (
    "J&F",
    "J",
    "F",
    "G",
    "J seen",
    "F seen",
    "J unseen",
    "F unseen",
    "J recall",
    "J decay",
    "F recall",
    "F decay",
    "J t<10",
    "F t<10",
    "J t>20",
    "F t>20",
    "J&F area<=0",
    "J&F area<=50",
    "J&F area<=100",
    *(of_count("J&F", count) for count in OBJECT_COUNTS),
)
"""Measures in percent."""

RATE_MEASURES = (
    "frames/s",
    "s/frame",
    *(of_count("frames/s", count) for count in OBJECT_COUNTS),
    *(of_part(part) for part in ("BFE", "OPG", "OTG", "AM", "MRN")),
)
"""Measures of speed, which depend on the device."""

_TABLES_FILE = Path(__file__).with_name("paper_tables.json")


@dataclass(frozen=True)
class PaperData:
    """A data set as the papers use it.

    Attributes:
        name: Key in the data file.
        title: Name for people.
        protocol: Rules of evaluation, see :mod:`vos_zoo.metrics.protocols`.
        image_set: List of videos below ``ImageSets`` of a DAVIS root, or folder of a YouTube-VOS root.
        is_listed: Whether ``image_set`` is exactly the paper's videos; otherwise they are a part of it.
    """

    name: str
    title: str
    protocol: str
    image_set: str
    is_listed: bool = True


@dataclass(frozen=True)
class PaperRow:
    """One configuration of a table.

    Attributes:
        name: Key within the table, for the command line and for folders.
        label: What the paper calls it.
        model: Registry name of the architecture.
        data: Data set that the row is measured on.
        scores: The paper's numbers by measure; None where it gives none.
        backbone: The paper's backbone. A weight with that of another row is none of this row; one of a smaller size may
            stand in.
        architecture: Fields of the model's configuration that a weight must have been trained with.
        inference: Fields that any weight runs with, whatever it was trained with.
        requires: A training that no configuration shows, in words; such a row takes only weights that are named for it.
        proposals: Where the row's proposals come from, in words, if that is what it is about; such a row runs only with
            proposals that are named for it.
        is_retrained: Whether the paper retrained a row although its configuration differs in ``inference`` only.
        frames: Folder of the frames in a DAVIS root; results have the size of the masks in ``480p``.
        size: Short side at which the network sees them, in pixels; None means the model's own.
        training: Commands that train it, one after another, each as its words after ``lightning``.
        has_own_training: Whether they differ from those of the model's other rows.
    """

    name: str
    label: str
    model: str
    data: PaperData
    scores: Mapping[str, float | None]
    backbone: str
    architecture: Mapping[str, Any]
    inference: Mapping[str, Any]
    requires: str
    proposals: str
    is_retrained: bool
    frames: str
    size: int | None
    training: tuple[tuple[str, ...], ...]
    has_own_training: bool

    @property
    def training_command(self) -> str:
        """Commands that train the row's weight, for a shell; ROOT stands for the data root."""
        return " && ".join(shlex.join(("lightning", *words)) for words in self.training)

    def command(self, table: PaperTable) -> str:
        """Command that trains the row, or runs it where it needs no training but that of another row."""
        if self.has_own_training:
            return self.training_command
        named = f" --weights {self.name}=FOLDER" if self.requires else ""
        named += f" --proposals {self.name}=FOLDER" if self.proposals else ""
        return f"vos-zoo reproduce {table.name} --data ROOT --rows {self.name}{named}"


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        name: Paper and table, such as ``rde.table5``.
        title: What it shows.
        source: Where it stands in the paper.
        measures: Its columns, in the paper's order.
        rows: Its rows that our models have configurations for.
        is_ablation: Whether its rows are variants of one model.
        note: What a reader of the comparison has to know.
    """

    name: str
    title: str
    source: str
    measures: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    is_ablation: bool
    note: str

    @property
    def model(self) -> str:
        """Registry name of the paper's model."""
        return self.name.split(".", 1)[0]

    @property
    def times_parts(self) -> bool:
        """Whether the parts of the networks are timed one by one."""
        return any(measure.endswith(of_part("")) and measure != "s/frame" for measure in self.measures)


@dataclass(frozen=True)
class LongVideoFigure:
    """A comparison on a synthetic long video.

    Attributes:
        name: Paper and figure, such as ``rde.figure3``.
        title: What it shows.
        source: Where it stands in the paper.
        video: The paper's video.
        lengths: Lengths of the long video in multiples of the original.
        rows: Configurations that are compared; their ``scores`` are empty.
        note: What the paper says about the result.
    """

    name: str
    title: str
    source: str
    video: str
    lengths: tuple[int, ...]
    rows: tuple[PaperRow, ...]
    note: str


@functools.cache
def paper_tables() -> Mapping[str, PaperTable]:
    """Return all tables by name, paper by paper."""
    content = _content()
    return {entry["name"]: _table(entry, content) for entry in content["tables"]}


@functools.cache
def long_video_figures() -> Mapping[str, LongVideoFigure]:
    """Return all long-video figures by name."""
    content = _content()
    return {
        entry["name"]: LongVideoFigure(
            name=entry["name"],
            title=entry["title"],
            source=entry["source"],
            video=entry["video"],
            lengths=tuple(entry["lengths"]),
            rows=tuple(_row(row, entry, content) for row in entry["rows"]),
            note=entry["note"],
        )
        for entry in content["figures"]
    }


def find_table(name: str) -> PaperTable | LongVideoFigure:
    """Find a table or figure by name.

    Raises:
        ConfigError: If there is none; the message lists the nearest names.

    Example:
        >>> find_table("rde.table5").source
        'Table 5, Section 4.4'
    """
    known: dict[str, PaperTable | LongVideoFigure] = {**paper_tables(), **long_video_figures()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=4) or list(known)
    raise ConfigError(
        f"There is no table {name!r}. Near it are {', '.join(near)}. `vos-zoo reproduce --list` shows all."
    )


def choose_rows(table: PaperTable | LongVideoFigure, names: Sequence[str]) -> tuple[PaperRow, ...]:
    """Pick rows of a table by name; no names mean all.

    Raises:
        ConfigError: If the table has no such row.
    """
    known = {row.name: row for row in table.rows}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"{table.name} has no row {unknown[0]!r}. Its rows are {', '.join(known)}. Pick among these.")
    return tuple(known[name] for name in names) if names else table.rows


@functools.cache
def paper_backbones(model: str) -> frozenset[str]:
    """Return the backbones that rows of a model have."""
    tables: list[PaperTable | LongVideoFigure] = [*paper_tables().values(), *long_video_figures().values()]
    return frozenset(row.backbone for table in tables for row in table.rows if row.model == model)


@functools.cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_TABLES_FILE.read_text(encoding="utf-8"))
    return content


def _table(entry: Mapping[str, Any], content: Mapping[str, Any]) -> PaperTable:
    return PaperTable(
        name=entry["name"],
        title=entry["title"],
        source=entry["source"],
        measures=tuple(entry["measures"]),
        rows=tuple(_row(row, entry, content) for row in entry["rows"]),
        is_ablation=entry.get("is_ablation", False),
        note=entry.get("note", ""),
    )


def _row(row: Mapping[str, Any], table: Mapping[str, Any], content: Mapping[str, Any]) -> PaperRow:
    # What the full model has is written once per model; a row says what it changes.
    model = content["models"][row["model"]]
    data = row.get("data", table["data"])
    recipe = row.get("recipe", model["recipe"])
    command = (
        *("fit", "--config", recipe),
        *(("--config", row["overlay"]) if "overlay" in row else ()),
        *("--data.root", "ROOT"),
        *row.get("training", ()),
    )
    return PaperRow(
        name=row["name"],
        label=row["label"],
        model=row["model"],
        data=PaperData(name=data, **content["data"][data]),
        scores=dict(zip(table["measures"], row.get("scores", ()), strict=True)),
        backbone=row.get("architecture", {}).get("backbone", model["backbone"]),
        architecture={**model.get("architecture", {}), **row.get("architecture", {})},
        inference={**model.get("inference", {}), **row.get("inference", {})},
        requires=row.get("requires", table.get("requires", "")),
        proposals=row.get("proposals", ""),
        is_retrained=row.get("is_retrained", False),
        frames=row.get("frames", "480p"),
        size=row.get("size"),
        training=(*(tuple(words) for words in row.get("before", ())), command),
        has_own_training=not row.keys().isdisjoint({"requires", "architecture", "recipe", "overlay", "training"}),
    )
