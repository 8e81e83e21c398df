"""``vos-zoo reproduce``: run the configurations of a paper's table and compare."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.errors import ConfigError
from vos_zoo.files import folder_lock
from vos_zoo.texts import frame_size
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse

    from vos_zoo.reproduction.reproduce import RunOptions
    from vos_zoo.reproduction.results import LongVideoResult, TableResult
    from vos_zoo.reproduction.tables import LongVideoFigure, PaperRow, PaperTable

_logger = logging.getLogger(__name__)

SUMMARY = "Run the configurations of a paper's table and set the results beside its numbers."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("table", nargs="?", metavar="TABLE", help="paper and table, such as rde.table5 or rde.figure3")
    parser.add_argument(
        "--list", action="store_true", help="list the tables with their rows and weights, or with TABLE one of them"
    )
    parser.add_argument("--data", type=Path, metavar="ROOT", help="data root in the layout of DAVIS or YouTube-VOS")
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names or folders of weights, alone or for some rows as ROW=NAME or ROW,ROW=NAME (default: bundled ones)",
    )
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="rows to run (default: all)")
    parser.add_argument("--set", metavar="LIST", help="other videos: an image set of ROOT, or a text file of names")
    parser.add_argument("--video", metavar="NAME", help="video of a long-video figure")
    parser.add_argument(
        "--lengths", nargs="+", type=int, default=[], metavar="N", help="lengths of a long video, in originals"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for results (default: reproduction/TABLE)")
    parser.add_argument(
        "--size",
        type=frame_size,
        metavar="PIXELS",
        help="short side that larger frames are scaled to, or height x width (default: the model's own)",
    )
    parser.add_argument(
        "--resolution", metavar="FOLDER", help="frames of a DAVIS root: 480p or Full-Resolution (default: the row's)"
    )
    parser.add_argument(
        "--proposals",
        nargs="+",
        default=[],
        metavar="DIR",
        help="for dmn_aoa: proposals of the videos, made by `vos-zoo proposals VIDEO --out DIR`, alone or as ROW=DIR",
    )
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16", "fp16"), help="default: fp32")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument("--processes", type=int, metavar="N", help="processes that score (default: one per CPU core)")
    parser.add_argument("--overwrite", action="store_true", help="rerun finished rows")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run what is not done yet, print the comparison, and write its files."""
    from vos_zoo.reproduction.tables import LongVideoFigure, find_table

    if arguments.list:
        print(_row_list(arguments.table) if arguments.table else _table_list())
        return 0
    if arguments.table is None or arguments.data is None:
        raise ConfigError(
            "A table and a data root are needed: `vos-zoo reproduce TABLE --data ROOT`. `vos-zoo reproduce --list` "
            "shows the tables."
        )
    table = find_table(arguments.table)
    is_figure = isinstance(table, LongVideoFigure)
    unused = ("set", "proposals", "resolution") if is_figure else ("video", "lengths")
    if wrong := [name for name in unused if getattr(arguments, name)]:
        kind = "tables" if is_figure else "long-video figures"
        raise ConfigError(f"--{wrong[0]} is for {kind}; {table.name} is none. Leave it out.")
    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.reproduction.reproduce import RunOptions, write_result

    options = RunOptions(
        out=arguments.out or Path("reproduction") / table.name,
        size=arguments.size,
        precision=arguments.precision,
        device=arguments.device,
        resolution=arguments.resolution,
        proposals=arguments.proposals,
        processes=arguments.processes,
        overwrite=arguments.overwrite,
    )
    try:
        with folder_lock(options.out):
            result = _reproduce(table, arguments, options)
            written = write_result(result, options.out)
    except KeyboardInterrupt:
        print(f"vos-zoo: finished videos are kept in {options.out}; repeat the command to resume.", file=sys.stderr)
        raise
    print(result.text())
    print("\nWrote " + ", ".join(map(str, written)))
    return 0


def _reproduce(
    table: PaperTable | LongVideoFigure, arguments: argparse.Namespace, options: RunOptions
) -> TableResult | LongVideoResult:
    from vos_zoo.reproduction.reproduce import reproduce_figure, reproduce_table
    from vos_zoo.reproduction.tables import LongVideoFigure

    if isinstance(table, LongVideoFigure):
        return reproduce_figure(
            table,
            arguments.data,
            options,
            rows=arguments.rows,
            weights=arguments.weights,
            video=arguments.video,
            lengths=arguments.lengths,
            progress=progress_bar,
        )
    return reproduce_table(
        table,
        arguments.data,
        options,
        rows=arguments.rows,
        weights=arguments.weights,
        image_set=arguments.set,
        progress=progress_bar,
    )


def _table_list() -> str:
    from vos_zoo.reproduction.tables import long_video_figures, paper_tables

    names = sorted([*paper_tables(), *long_video_figures()])
    return "\n\n".join(map(_row_list, names))


def _row_list(name: str) -> str:
    """List the rows of a table: the paper's name and numbers, and what may run in each."""
    from vos_zoo.reproduction.tables import find_table

    table = find_table(name)
    lines = [f"{table.name}: {table.title} ({table.source})"]
    width = max(len(row.name) for row in table.rows)
    for row in table.rows:
        scores = ", ".join(f"{measure} {score:g}" for measure, score in row.scores.items() if score is not None)
        lines.append(f"  {row.name.ljust(width)}  {row.label}" + (f": {scores}" if scores else ""))
        lines.append(f"  {' ' * width}  runs with {_weights_of(row)}")
    return "\n".join(lines)


def _weights_of(row: PaperRow) -> str:
    from vos_zoo.reproduction.weights import bundled_weights, stand_in

    named = f"{row.name}=FOLDER"
    if row.proposals:
        return f"a weight and proposals that are named for it ({named}): {row.requires}; proposals of {row.proposals}"
    if row.requires:
        return f"a weight that is named for it ({named}): {row.requires}"
    bundled = [
        f"{weight.name} ({stand_in(row, weight)})" if stand_in(row, weight) else weight.name
        for weight in bundled_weights(row)
    ]
    switches = {name: value for name, value in row.architecture.items() if name != "backbone"}
    fields = ", ".join(f"{name}={value}" for name, value in {"backbone": row.backbone, **switches}.items())
    return " or ".join([*bundled, f"a weight of {row.model} with {fields}"])
