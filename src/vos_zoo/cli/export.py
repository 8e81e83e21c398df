"""``vos-zoo export``: turn a checkpoint of a training run into one that models load by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

SUMMARY = "Turn a .ckpt file of a training run into a checkpoint folder."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, metavar="CKPT", help="a .ckpt file that `lightning fit` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--full", action="store_true", help="store float32 instead of float16, twice the bytes")


def run(arguments: argparse.Namespace) -> int:
    """Export and say how to use the result."""
    from vos_zoo.weights import export_checkpoint

    folder = export_checkpoint(arguments.file, arguments.out, half=not arguments.full)
    print(f"Wrote {folder}; describe the weights in its README.md.")
    print(f"Use it with `vos-zoo segment VIDEO MASKS --out DIR --model {folder}` or `load_model({str(folder)!r})`.")
    return 0
