"""``vos-zoo segment-many``: a list of videos in, a folder of masks for each out."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.cli.progress import add_progress_argument, many_progress
from vos_zoo.texts import byte_count, frame_size, levels, void_value

if TYPE_CHECKING:
    from vos_zoo.scale.many import ManyReport

SUMMARY = "Segment many videos: a folder, a pattern, or a table of them, on one machine or a cluster."

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="folder of videos, pattern such as 'clips/*.mp4', or table with a row for each video (CSV, JSON lines, "
        "Parquet; a file or an address such as s3://bucket/list.csv)",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the results, or an address such as s3://bucket/masks"
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="folder with NAME.png or NAME/ for each video of a folder or pattern (default: `masks` beside `videos`, "
        "or NAME.png beside the video)",
    )
    parser.add_argument(
        "--model", default="rde", metavar="NAME", help="name of `vos-zoo list` or folder (default: rde)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda (all GPUs), cuda:1, mps")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="videos that are segmented at a time (default: one per GPU, or one per four processor cores)",
    )
    parser.add_argument("--engine", default="local", choices=("local", "ray"), help="local (default), or a Ray cluster")
    parser.add_argument(
        "--shard", type=_shard, metavar="K/N", help="do the K-th of N parts of the list, for job arrays; K from 1"
    )
    parser.add_argument(
        "--size", type=frame_size, metavar="SIZE", help="how the network sees frames, as for `vos-zoo segment`"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16", "fp16", "auto"),
        help="default: fp32; auto: what is fastest on each machine, measured once",
    )
    parser.add_argument("--every", type=int, metavar="N", help="use only every n-th frame of each video")
    parser.add_argument(
        "--direction", choices=("forward", "backward", "both"), help="as for `vos-zoo segment` (default: forward)"
    )
    parser.add_argument("--levels", type=levels, metavar="LEVELS", help="as for `vos-zoo segment`")
    parser.add_argument("--void", type=void_value, metavar="VALUE", help="as for `vos-zoo segment`")
    parser.add_argument("--memory-budget", type=byte_count, metavar="BYTES", help="as for `vos-zoo segment`")
    parser.add_argument("--resize-mask", action="store_true", default=None, help="as for `vos-zoo segment`")
    parser.add_argument("--overlay", action="store_true", default=None, help="also write an overlay.mp4 for each video")
    parser.add_argument("--overwrite", action="store_true", help="replace results that were made with other settings")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment, show one line of progress for all, and name what failed."""
    from vos_zoo.scale.many import segment_many

    options: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in (
            "size",
            "precision",
            "every",
            "direction",
            "levels",
            "void",
            "memory_budget",
            "resize_mask",
            "overlay",
        )
        if getattr(arguments, name) is not None
    }
    try:
        with many_progress() as progress:
            report = segment_many(
                arguments.input,
                out=arguments.out,
                masks=arguments.masks,
                model=arguments.model,
                engine=arguments.engine,
                workers=arguments.workers,
                device=arguments.device,
                shard=arguments.shard,
                overwrite=arguments.overwrite,
                progress=progress,
                **options,
            )
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        where = f"What is finished is in {arguments.out}"
        print(f"vos-zoo: stopped. {where}; repeat the command to resume.", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(_summary(report))
    return EXIT_FAILED if report.failures else 0


def _summary(report: ManyReport) -> str:
    lines = [f"{report.finished + report.found} of {report.videos} videos are finished in {report.out}"]
    if report.found:
        lines[0] += f", {report.found} of them by earlier runs"
    if report.elsewhere:
        lines.append(f"{len(report.elsewhere)} videos are with other runs in this folder")
    if report.frames:
        speed = report.frames / max(report.seconds, 1e-9)
        lines.append(f"{report.frames} frames in {report.seconds:.1f} s, {speed:.2f} frames/s")
    if report.failures:
        lines.append(f"{len(report.failures)} failed (failures.jsonl has all); the same command tries them again:")
        lines += [f"- {part.video} (row {part.row}): {part.message}" for part in report.failures[:_SHOWN]]
        if len(report.failures) > _SHOWN:
            lines.append(f"- … and {len(report.failures) - _SHOWN} more")
    return "\n".join(lines)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part; write K/N with K from 1 to N, such as 3/16")
    return int(match[1]), int(match[2])
