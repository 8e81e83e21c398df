"""``vos-zoo data``: what is wrong with a data root, and packing one into shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.output import format_bytes
from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.files import printable
from vos_zoo.texts import byte_count

if TYPE_CHECKING:
    import argparse

SUMMARY = "Check training data, or pack it into shards that are read from front to back."

EXIT_PROBLEMS = 1
_CHECK = "Open every file of a data root and name every problem."
_PACK = "Pack annotated videos into tar files as WebDataset reads them, for PackedDataModule."
_FORMATS = ("davis", "youtube-vos", "folder", "bl30k")  # those of data/check.py, which loads slowly


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help=_CHECK, description=_CHECK)
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
    pack = actions.add_parser("pack", help=_PACK, description=_PACK)
    pack.add_argument(
        "root", type=Path, metavar="ROOT", help="data root, whose layout is detected; for YouTube-VOS name a split"
    )
    pack.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the shards")
    pack.add_argument("--list", metavar="NAME", help="list of videos of a DAVIS root, such as 2017/train")
    pack.add_argument(
        "--shard-size",
        type=byte_count,
        default="256MiB",
        metavar="BYTES",
        help="bytes at which a shard takes no further video (default: 256MiB)",
    )
    pack.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the order of the videos (default: 0)")
    add_progress_argument(pack)


def run(arguments: argparse.Namespace) -> int:
    """Check or pack."""
    return _pack(arguments) if arguments.action == "pack" else _check(arguments)


def _check(arguments: argparse.Namespace) -> int:
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


def _pack(arguments: argparse.Namespace) -> int:
    from vos_zoo.data.layouts.open import open_videos
    from vos_zoo.data.layouts.packed import pack_videos

    with progress_bar("videos") as progress:
        report = pack_videos(
            open_videos(arguments.root, image_set=arguments.list),
            arguments.out,
            source=arguments.root,
            shard_bytes=arguments.shard_size,
            seed=arguments.seed,
            progress=progress,
        )
    counts = {"shard": report.shards, "video": report.videos, "annotated frame": report.frames}
    print(f"{report.folder}: {', '.join(_counted(count, noun) for noun, count in counts.items())}, "
          f"{format_bytes(report.size)}")  # fmt: skip
    return 0


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
