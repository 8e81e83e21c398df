"""``vos-zoo proposals``: possible objects of every frame of a video, written once for DMN-AOA."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.texts import frame_size
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse

_logger = logging.getLogger(__name__)

SUMMARY = "Write the proposals of a video, which DMN-AOA chooses from."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="video file, or folder of frames")
    parser.add_argument(
        "masks",
        type=Path,
        nargs="?",
        metavar="MASKS",
        help="for the built-in source: mask of the first frame, or folder of masks named like frames",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for a folder per video")
    parser.add_argument(
        "--source",
        default="builtin",
        choices=("builtin", "maskrcnn"),
        help="builtin: around the masks of the previous frame, tracked by --model (default); maskrcnn: instances that "
        "torchvision's Mask R-CNN v2 on ResNet-50 finds (the paper: ResNeXt-101, tuned on YouTube-VOS)",
    )
    parser.add_argument(
        "--model", default="rde", metavar="NAME", help="model that tracks the objects for the built-in source"
    )
    parser.add_argument(
        "--weights",
        default="COCO_V1",
        metavar="FILE",
        help="weights of the detector: COCO_V1 downloads them (default), torchvision's file, or a checkpoint of "
        "the recipe dmn_aoa/detector",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--size", type=frame_size, default="native", metavar="SIZE", help="working size of --model, e.g. 480 or 256x448"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="keep existing files")
    existing.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Propose, show progress, and say how to use the result."""
    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.models.dmn_aoa.precompute import propose_video

    with progress_bar("frames") as progress:
        report = propose_video(
            arguments.video,
            arguments.out,
            source=arguments.source,
            masks=arguments.masks,
            model=arguments.model,
            weights=arguments.weights,
            device=arguments.device,
            size=arguments.size,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    print(f"{report.proposals} proposals written, {report.frames} frames have a file in {report.folder}")
    side_input = f"--side-input proposals={report.folder}"
    print(f"Use them: vos-zoo segment {arguments.video} MASKS --model dmn_aoa {side_input} --out DIR")
    return 0
