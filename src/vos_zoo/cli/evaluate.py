"""``vos-zoo evaluate``: score masks against annotations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from vos_zoo.cli.output import check_new_files
from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.files import check_outputs, printable
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vos_zoo.metrics import EvaluationReport

_logger = logging.getLogger(__name__)

SUMMARY = "Score masks against annotations: J, F and J&F as DAVIS and YouTube-VOS define them."

_FEW_OBJECTS = 10  # below, resamples repeat so often that the interval is far too narrow
_SHOWN_OBJECTS = 5  # objects with the largest differences, at either end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder of masks, or of one folder per video")
    parser.add_argument("annotations", type=Path, metavar="ANNOTATIONS", help="folder of true masks, laid out likewise")
    parser.add_argument(
        "--protocol",
        default="davis2017",
        metavar="NAME",
        help="which frames count and what 255 means: davis2017 (default), davis2016 or youtube-vos",
    )
    parser.add_argument("--sequences", metavar="LIST", help="text file of video names, or an image set such as val")
    parser.add_argument("--meta", type=Path, metavar="FILE", help="meta.json of a YouTube-VOS set")
    parser.add_argument("--seen", type=Path, metavar="FILE", help="meta.json of the training set, for seen and unseen")
    parser.add_argument(
        "--breakdown",
        action="append",
        default=[],
        metavar="NAME",
        help="also score parts of the frames: length or occlusion; may be given twice",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="RESULTS",
        help="also score other results of the same videos, and test the difference (paired bootstrap)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="worker processes (default: one per CPU core)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number as JSON")
    parser.add_argument("--csv", type=Path, metavar="DIR", help="also write the two CSV files of the DAVIS evaluation")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Score, print the table, write the files."""
    csv_files = [] if arguments.csv is None else sorted(arguments.csv.glob("*_results-*.csv"))
    outputs = [*csv_files, *filter(None, [arguments.json])]
    if outputs:
        check_outputs(outputs, _inputs(arguments))
    check_new_files(outputs, overwrite=arguments.overwrite)
    report = _evaluate(arguments.results, arguments)
    if arguments.compare is None:
        print(report.table())
    else:
        print(_comparison(report, _evaluate(arguments.compare, arguments), arguments))
    if arguments.json is not None:
        report.to_json(arguments.json)
        print(f"Wrote {arguments.json}")
    if arguments.csv is not None:
        for path in report.to_csv(arguments.csv):
            print(f"Wrote {path}")
    return 0


def _inputs(arguments: argparse.Namespace) -> Iterator[Path]:
    """List the files that are read. Tables may lie beside the masks, where the official program writes them."""
    yield from filter(None, (arguments.meta, arguments.seen))
    if arguments.sequences is not None:
        yield Path(arguments.sequences)
    for root in filter(None, (arguments.results, arguments.annotations, arguments.compare)):
        yield from root.rglob("*.png")


def _evaluate(results: Path, arguments: argparse.Namespace) -> EvaluationReport:
    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.metrics.evaluation import evaluate, usable_cores

    with progress_bar("videos") as progress:
        return evaluate(
            results,
            arguments.annotations,
            protocol=arguments.protocol,
            sequences=arguments.sequences,
            meta=arguments.meta,
            seen_categories=arguments.seen,
            breakdown=arguments.breakdown,
            processes=arguments.processes or usable_cores(),
            progress=lambda done, total, _: progress(done, total),
        )


def _comparison(first: EvaluationReport, second: EvaluationReport, arguments: argparse.Namespace) -> str:
    """Lay out both results, their difference and the objects that it comes from."""
    from vos_zoo.metrics.comparison import Measure, compare, object_differences

    differences = [(printable(name), a, b) for name, a, b in object_differences(first, second)]
    shown = differences if len(differences) <= 2 * _SHOWN_OBJECTS else [
        *differences[:_SHOWN_OBJECTS], *differences[-_SHOWN_OBJECTS:]
    ]  # fmt: skip
    width = max(len(name) for name, _, _ in shown)
    rows = [f"{'J&F of objects'.ljust(width)}  {'A':>6}  {'B':>6}  {'A - B':>6}"]
    rows += [f"{name.ljust(width)}  {100 * a:6.1f}  {100 * b:6.1f}  {100 * (a - b):+6.1f}" for name, a, b in shown]
    parts = [
        f"A {arguments.results}\n{first.table(per_object=False)}",
        f"B {arguments.compare}\n{second.table(per_object=False)}",
        "A - B\n" + "\n".join(str(compare(first, second, measure=measure)) for measure in get_args(Measure)),
        "\n".join(row.rstrip() for row in rows),
    ]
    if len(differences) < _FEW_OBJECTS:
        parts.insert(-1, f"An interval from {len(differences)} objects says little; compare on more videos.")
    return "\n\n".join(parts)
