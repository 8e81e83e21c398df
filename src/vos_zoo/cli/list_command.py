"""``vos-zoo list``: models, weights and recipes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from typing import TYPE_CHECKING

from vos_zoo.cli.output import aligned
from vos_zoo.cli.recipes import list_recipes
from vos_zoo.registry import WEIGHTS, known_architectures

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from vos_zoo.registry import DataSource, Weight

SUMMARY = "List models, published weights, and training recipes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--weights", action="store_true", help="list the weights instead of the models")
    parser.add_argument(
        "--ablations",
        action="store_true",
        help="list the papers' ablations, each with the command that runs or trains it",
    )
    parser.add_argument("--recipes", action="store_true", help="list the names that `lightning fit --config` takes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the registry."""
    if arguments.ablations:
        return _print_ablations(as_json=arguments.json)
    if arguments.recipes:
        return _print_recipes(as_json=arguments.json)
    if arguments.json:
        chosen = WEIGHTS if arguments.weights else known_architectures()
        print(json.dumps([dataclasses.asdict(entry) for entry in chosen.values()], indent=2))
        return 0
    for row in aligned(_weight_rows() if arguments.weights else _model_rows()):
        print(row)
    for line in _source_lines() if arguments.weights else ():
        print(line)
    return 0


def _model_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("MODEL", "PAPER", "SIZES", "WEIGHTS")]
    for architecture in known_architectures().values():
        weights = [weight.name for weight in WEIGHTS.values() if weight.architecture == architecture.name]
        rows.append(
            (
                architecture.name,
                f"{architecture.title}, {architecture.paper.venue} {architecture.paper.year}",
                " ".join(variant.name for variant in architecture.variants),
                " ".join(weights) or "none published" + ("; see `vos-zoo convert`" if architecture.converter else ""),
            )
        )
    return rows


def _weight_rows() -> list[tuple[str, ...]]:
    heading = ("WEIGHT", "PAPER", "FILE", "WHERE", "DATE", "J&F", "LICENCE")
    return [heading, *map(_weight_row, WEIGHTS.values())]


def _weight_row(weight: Weight) -> tuple[str, ...]:
    return (
        weight.name,
        f"{weight.paper.venue} {weight.paper.year}",
        f"{weight.num_bytes / 2**20:.1f} MiB",
        weight.place,
        weight.date,
        ", ".join(f"{score.j_and_f:.1f} on {score.data}" for score in weight.scores) or "not measured",
        weight.licence,
    )


def _source_lines() -> Iterator[str]:
    """Say what the weights were trained on and which protocol their scores follow, each list once."""
    groups: dict[tuple[DataSource, ...], list[str]] = {}
    for weight in WEIGHTS.values():
        groups.setdefault(weight.trained_on, []).append(weight.name)
    for sources, names in groups.items():
        yield f"\nTraining data of {', '.join(names)}, with licences:"
        yield from (f"  {source.name}: {source.licence}" for source in sources)
    protocols = {f"  {score.data}: {score.protocol}" for weight in WEIGHTS.values() for score in weight.scores}
    if protocols:
        yield "\nJ&F in percent:"
        yield from sorted(protocols)


def _print_recipes(*, as_json: bool) -> int:
    """Print every recipe's name and the first sentence of its comment."""
    entries = [{"name": name, "about": _first_sentence(path)} for name, path in list_recipes().items()]
    if as_json:
        print(json.dumps(entries, indent=2))
        return 0
    for row in aligned([("RECIPE", "WHAT IT TRAINS"), *((entry["name"], entry["about"]) for entry in entries)]):
        print(row)
    return 0


def _first_sentence(path: Path) -> str:
    """Return what a recipe's comment begins with."""
    comment = [line.removeprefix("#").strip() for line in path.read_text(encoding="utf-8").splitlines()]
    paragraph = " ".join(itertools.takewhile(bool, comment))
    return re.split(r"\.(?: |$)", paragraph, maxsplit=1)[0]


def _print_ablations(*, as_json: bool) -> int:
    """Print one block per ablation table: the row, the paper's first score, and the command."""
    from vos_zoo.reproduction.tables import paper_tables

    tables = [table for table in paper_tables().values() if table.is_ablation]
    entries = [
        {
            "table": table.name,
            "row": row.name,
            "label": row.label,
            "paper": dict(row.scores),
            "command": row.command(table),
        }
        for table in tables
        for row in table.rows
    ]
    if as_json:
        print(json.dumps(entries, indent=2))
        return 0
    for table in tables:
        measure = table.measures[0]
        rows: list[tuple[str, ...]] = [
            (f"  {row.label}", f"{measure} {row.scores[measure]}", row.command(table)) for row in table.rows
        ]
        print(f"{table.name}: {table.title}")
        print("\n".join(aligned(rows)) + "\n")
    print(
        "ROOT is your data root, FOLDER a trained weight or a folder of proposals. `vos-zoo reproduce` runs a weight "
        "in a row's setting."
    )
    return 0
