"""``vos-zoo review``: a page about a run, to see where a correction is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.progress import add_progress_argument, progress_bar

if TYPE_CHECKING:
    import argparse

SUMMARY = "Write a page that shows where objects may be lost and which frames to correct."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("masks", type=Path, metavar="DIR", help="folder that `vos-zoo segment` wrote")
    parser.add_argument("--video", metavar="VIDEO", help="the video, if it has moved")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: review.html in DIR)")
    parser.add_argument("--overwrite", action="store_true", help="replace a page that exists")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say what is on it."""
    from vos_zoo.segmentation.review import write_review

    with progress_bar("frames") as progress:
        review = write_review(
            arguments.masks,
            video=arguments.video,
            out=arguments.out,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    for object_id, lost in zip(review.objects, review.lost, strict=True):
        if lost:
            print(f"Object {object_id} looks lost in {lost} frame{'s' if lost != 1 else ''}")
    print(f"{len(review.frames)} frames to look at in {review.page}")
    return 0
