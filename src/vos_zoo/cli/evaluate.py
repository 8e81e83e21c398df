"""``vos-zoo evaluate``: score masks against annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.output import check_new_files

if TYPE_CHECKING:
    import argparse

SUMMARY = "Score masks against annotations: J, F and J&F as DAVIS 2017 defines them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder of masks, or of one folder per video")
    parser.add_argument("annotations", type=Path, metavar="ANNOTATIONS", help="folder of true masks, laid out likewise")
    parser.add_argument(
        "--protocol",
        default="davis2017",
        help="which frames count and what void means (default: davis2017, semi-supervised)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="worker processes (default: one per CPU core)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write one line per object as CSV")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Score, print the table, write the files."""
    files = [path for path in (arguments.json, arguments.csv) if path is not None]
    check_new_files(files, overwrite=arguments.overwrite)
    from vos_zoo.metrics import evaluate

    report = evaluate(
        arguments.results, arguments.annotations, protocol=arguments.protocol, processes=arguments.processes
    )
    print(report.table())
    for path, text in ((arguments.json, report.to_json), (arguments.csv, report.to_csv)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
            print(f"Wrote {path}")
    return 0
