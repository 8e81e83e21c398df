"""``vos-zoo export-masks``: hand results on as annotations, images, arrays, or a video."""

from __future__ import annotations

import argparse
from pathlib import Path

from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.interchange.export_formats import EXPORT_FORMATS
from vos_zoo.texts import object_ids, object_label, void_value

SUMMARY = "Write masks in another form: annotations, images, arrays, or a video."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, EXPORT_FORMATS)) + 2
    lines = [
        f"  {name:{width}}{kind.summary}{'' if kind.suffixes else '; a folder'}"
        for name, kind in EXPORT_FORMATS.items()
    ]
    parser.epilog = "formats:\n" + "\n".join(lines)
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="folder that `vos-zoo segment` wrote, or any folder of masks"
    )
    parser.add_argument("--to", required=True, choices=EXPORT_FORMATS, metavar="FORMAT", help="see below")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="file or folder to write")
    parser.add_argument(
        "--video", metavar="VIDEO", help="the video that was segmented (default: the one that RESULTS names)"
    )
    parser.add_argument(
        "--objects", type=object_ids, metavar="IDS", help="ids of the objects to export, such as 1,3 (default: all)"
    )
    parser.add_argument(
        "--label",
        type=object_label,
        action="append",
        default=[],
        metavar="ID=NAME",
        help="name of an object, such as 1=bird; repeat it for several",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="name of the video in data sets (default: that of its file or folder)"
    )
    parser.add_argument(
        "--fps", type=float, metavar="N", help="frames per second of a folder of frames in a video (default: 24)"
    )
    parser.add_argument(
        "--soft",
        action="store_true",
        help="soft edges, from the output of `vos-zoo segment --save-probabilities`",
    )
    parser.add_argument(
        "--void",
        type=void_value,
        default="auto",
        metavar="VALUE",
        help="value of mask pixels that mean `no opinion`, such as 255; none if every value is an object; "
        "auto (default): 255 where it rims objects",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--add", action="store_true", help="add the video to the data set PATH, which holds others")
    existing.add_argument("--overwrite", action="store_true", help="replace PATH if it is a file")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export, show progress, and say what was written."""
    from vos_zoo.interchange.export_masks import export_masks

    with progress_bar("steps") as progress:
        report = export_masks(
            arguments.results,
            to=arguments.to,
            out=arguments.out,
            video=arguments.video,
            objects=arguments.objects,
            labels=dict(arguments.label),
            name=arguments.name,
            fps=arguments.fps,
            soft=arguments.soft,
            void=arguments.void,
            add=arguments.add,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    objects = f"{len(report.objects)} object{'s' if len(report.objects) != 1 else ''}"
    print(f"{report.frames} frames with {objects} in {report.path}")
    return 0
