"""``vos-zoo export-onnx``: turn a model into graphs that run without torch."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path

from vos_zoo.cli.output import format_bytes
from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.waiting import announced

SUMMARY = "Turn a model into fixed graphs that run without torch (ONNX, or archives of torch.export)."

_logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="name of `vos-zoo list` or checkpoint folder, such as rde.small")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--to",
        choices=("onnx", "pt2", "aoti"),
        default="onnx",
        help="onnx (default); pt2: archives of torch.export; aoti: packages compiled for this kind of machine",
    )
    parser.add_argument(
        "--size",
        type=graph_size,
        default=None,
        metavar="HxW",
        help="fixed size of the graphs, such as 480x864 (height x width); default: any",
    )
    parser.add_argument(
        "--objects",
        type=object_count,
        default=None,
        metavar="N",
        help="maximum number of objects, always computed; dynamic (default): any number",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="fp32 (default); fp16: weights of half the bytes; int8: convolutions in 8 bits, calibrated on videos",
    )
    parser.add_argument(
        "--calibrate",
        nargs=2,
        action="append",
        default=[],
        metavar=("VIDEO", "MASK"),
        help="for int8: a video and the mask of its first frame; may be given several times (default: the demo clip)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export and say how to use the result."""
    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.deployment.export import export_model
        from vos_zoo.deployment.quantize import CalibrationClip

    with progress_bar("steps") as progress:
        manifest = export_model(
            arguments.model,
            arguments.out,
            to=arguments.to,
            size=arguments.size,
            objects=arguments.objects,
            precision=arguments.precision,
            calibration=[CalibrationClip(video, mask) for video, mask in arguments.calibrate],
            overwrite=arguments.overwrite,
            progress=progress,
        )
    size = "any size" if manifest.size is None else "{}x{} pixels (height x width)".format(*manifest.size)
    objects = "any number of objects" if manifest.objects is None else f"up to {manifest.objects} objects"
    print(f"Wrote {arguments.out}: {size}, {objects}, {manifest.precision}, {format_bytes(manifest.num_bytes)}.")
    opened = "vos_zoo.runtime.GraphSession" if manifest.kind == "onnx" else "vos_zoo.deployment.archives.open_archives"
    print(f"Run it with `{opened}({str(arguments.out)!r}).step(frame, mask)`.")
    return 0


def graph_size(text: str) -> tuple[int, int]:
    """Read the size of graphs.

    Raises:
        argparse.ArgumentTypeError: If it is none.

    Example:
        >>> graph_size("480x864")
        (480, 864)
    """
    match = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it like 480x864 (height x width)")
    return int(match[1]), int(match[2])


def object_count(text: str) -> int | None:
    """Read a number of objects, or ``dynamic``.

    Raises:
        argparse.ArgumentTypeError: If it is neither.

    Example:
        >>> object_count("5"), object_count("dynamic")
        (5, None)
    """
    if text == "dynamic":
        return None
    if not re.fullmatch(r"[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of objects; write one such as 5, or dynamic")
    return int(text)
