"""``vos-zoo data``: what is wrong with a data root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.files import printable

if TYPE_CHECKING:
    import argparse

SUMMARY = "Check training data: open every file and name every problem."

EXIT_PROBLEMS = 1
_FORMATS = ("davis", "youtube-vos", "folder", "bl30k")  # those of data/check.py, which loads slowly


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help=SUMMARY, description=SUMMARY)
    check.add_argument("root", type=Path, metavar="ROOT", help="folder that holds the data")
    check.add_argument(
        "--format",
        required=True,
        choices=_FORMATS,
        help="layout: davis, youtube-vos (all splits or one), folder (own videos), bl30k",
    )
    check.add_argument("--resolution", default="480p", metavar="NAME", help="folder of a DAVIS root (default: 480p)")
    check.add_argument("--list", metavar="NAME", help="list that a DAVIS root must have, such as 2017/train")
    add_progress_argument(check)


def run(arguments: argparse.Namespace) -> int:
    """Check, print the problems; the exit code is 1 if there are any."""
    from vos_zoo.data.layouts.check import check_root

    with progress_bar("videos") as progress:
        report = check_root(
            arguments.root,
            arguments.format,
            resolution=arguments.resolution,
            image_set=arguments.list,
            progress=progress,
        )
    for problem in report.problems:
        print(f"- {printable(str(problem))}")
    counts = {"video": report.videos, "frame": report.frames, "mask": report.masks, "problem": len(report.problems)}
    print(f"{arguments.root}: {', '.join(_counted(count, noun) for noun, count in counts.items())}")
    return EXIT_PROBLEMS if report.problems else 0


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
