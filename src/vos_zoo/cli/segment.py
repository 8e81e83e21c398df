"""``vos-zoo segment``: a video and some masks in, a mask for every frame out."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.mask_reading import add_mask_reading_arguments, mask_reading
from vos_zoo.cli.output import named_path
from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.cli.project import add_project_argument, check_video, replay
from vos_zoo.cli.prompts import add_prompt_arguments, prompts_of
from vos_zoo.errors import VosZooError
from vos_zoo.texts import absent_objects, byte_count, frame_size, levels, void_value
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse

    from vos_zoo.segmentation.video import SegmentationReport

SUMMARY = "Segment objects through a video, given the masks of one frame."

EXIT_INTERRUPTED = 130
_logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "video",
        nargs="?",
        metavar="VIDEO",
        help="video file, folder of frames, TIFF stack, - for standard input, address, or number of a camera",
    )
    parser.optional = "masks"  # type: ignore[attr-defined]  # of the parser of cli/main.py
    parser.add_argument(
        "masks",
        type=Path,
        nargs="?",
        metavar="MASKS",
        help="palette or grey PNG for the first frame, folder of masks named like frames, or annotations of COCO, "
        "labelme, CVAT, YOLO or Label Studio; not needed with prompts, which correct the mask of their frame if it has "
        "one",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the masks")
    parser.add_argument(
        "--model", default="rde", metavar="NAME", help="name of `vos-zoo list` or folder (default: rde)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--size",
        type=frame_size,
        default="native",
        metavar="SIZE",
        help="how the network sees frames: short side that larger ones are scaled to, or HEIGHTxWIDTH of all (default: "
        "what the model was made for, mostly 480)",
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "tf32", "bf16", "fp16", "auto"),
        help="default: fp32; auto: what is fastest on this machine, measured once",
    )
    parser.add_argument(
        "--overlay",
        nargs="?",
        const=True,
        default=False,
        type=Path,
        metavar="FILE",
        help="also write a video with the masks drawn over it (default FILE: overlay.mp4 in DIR)",
    )
    parser.add_argument(
        "--show",
        metavar="VIEW",
        help="also write images of what the model shows besides its masks, such as `routing`, in DIR/VIEW",
    )
    parser.add_argument(
        "--save-probabilities",
        action="store_true",
        help="also write the probability of every object in DIR/probabilities, for soft edges",
    )
    parser.add_argument(
        "--side-input",
        type=named_path,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="what the model takes besides frames and masks, such as proposals=FOLDER; repeat it for several",
    )
    parser.add_argument(
        "--direction",
        default="forward",
        choices=("forward", "backward", "both"),
        help="tracking direction from the annotated frames (default: forward)",
    )
    parser.add_argument(
        "--absent",
        type=absent_objects,
        action="append",
        default=[],
        metavar="FRAME:IDS",
        help="objects that a frame does not show, such as 00012:3 or 12:3,5, without ending their tracks; repeat it "
        "for several frames",
    )
    parser.add_argument("--start", type=int, metavar="N", help="first frame, counted from 0")
    parser.add_argument("--end", type=int, metavar="N", help="frame to stop before")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use only every n-th frame")
    parser.add_argument(
        "--levels",
        type=levels,
        metavar="LEVELS",
        help="which values of frames of more than 8 bits become black and white: clip (range of the clip), type (range "
        "of the type), or LOW:HIGH (default: clip for images and 16-bit grey or RGB videos, else type)",
    )
    parser.add_argument("--resize-mask", action="store_true", help="resample masks of another size than their frame")
    parser.add_argument(
        "--void",
        type=void_value,
        default="auto",
        metavar="VALUE",
        help="value of mask pixels that mean `no opinion`, such as 255; none if every value is an object; "
        "auto (default): 255 where it rims objects",
    )
    add_mask_reading_arguments(parser)
    parser.add_argument(
        "--memory-budget", type=byte_count, metavar="BYTES", help="maximum size of the network's memory, e.g. 2GiB"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="continue an earlier run in DIR where it stopped")
    existing.add_argument(
        "--redo",
        action="store_true",
        help="correct the run in DIR: segment again from what was added or changed since to the next annotated frame "
        "(for a new object, to the end), and what was not finished",
    )
    existing.add_argument("--overwrite", action="store_true", help="replace masks in DIR")
    add_prompt_arguments(parser)
    add_progress_argument(parser)
    add_project_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment, show progress, and say what is on the disk whatever happens."""
    if arguments.project is not None:
        return replay(arguments)
    check_video(arguments)
    prompts = prompts_of(arguments, replace=arguments.resume or arguments.overwrite)
    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.segmentation.video import segment_video

    finished = (0, 0)
    try:
        with progress_bar("frames") as progress:

            def count(done: int, total: int) -> None:
                nonlocal finished
                finished = done, total
                progress(done, total)

            report = segment_video(
                arguments.video,
                arguments.masks if prompts is None else prompts,
                out=arguments.out,
                model=arguments.model,
                device=arguments.device,
                size=arguments.size,
                precision=arguments.precision,
                start=arguments.start,
                end=arguments.end,
                every=arguments.every,
                levels=arguments.levels,
                overlay=arguments.overlay,
                show=arguments.show,
                save_probabilities=arguments.save_probabilities,
                side_inputs=dict(arguments.side_input),
                resize_mask=arguments.resize_mask,
                void=arguments.void,
                direction=arguments.direction,
                absent=_by_frame(arguments.absent),
                mask_reading=mask_reading(arguments),
                memory_budget=arguments.memory_budget,
                resume=arguments.resume,
                redo=arguments.redo,
                overwrite=arguments.overwrite,
                progress=count,
            )
    except (VosZooError, OSError):
        _say_what_is_kept(arguments, finished)
        raise
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        print("vos-zoo: stopped.", file=sys.stderr)
        _say_what_is_kept(arguments, finished)
        return EXIT_INTERRUPTED
    print(_summary(report))
    return 0


def _summary(report: SegmentationReport) -> str:
    objects = f"{len(report.objects)} object{'s' if len(report.objects) != 1 else ''}"
    lines = [f"{report.frames} masks with {objects} in {report.folder}"]
    if report.overlay is not None:
        lines.append(f"Overlay video in {report.overlay}")
    if report.views is not None:
        lines.append(f"Views, their means as table and chart in {report.views}")
    if report.segmented:
        lines.append(
            f"{report.segmented} frames in {report.seconds:.1f} s, "
            f"{report.frames_per_second:.2f} frames/s on {report.device}"
        )
    return "\n".join(lines)


def _by_frame(entries: list[tuple[str, list[int]]]) -> dict[str, list[int]]:
    by_frame: dict[str, list[int]] = {}
    for name, ids in entries:
        by_frame.setdefault(name, []).extend(ids)
    return by_frame


def _say_what_is_kept(arguments: argparse.Namespace, finished: tuple[int, int]) -> None:
    done, total = finished
    if done and arguments.redo:
        print(f"vos-zoo: all masks in {arguments.out} are whole; finish with `--redo`.", file=sys.stderr)
    elif done:
        kind = "masks are in" if arguments.direction == "forward" else "steps are finished in"
        print(f"vos-zoo: {done} of {total} {kind} {arguments.out}; continue with `--resume`.", file=sys.stderr)
