"""``vos-zoo export``: turn a checkpoint of a training run into one that models load by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.files import parse_json
from vos_zoo.registry import find_stored_network

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
    from vos_zoo.weights import CONFIG_FILE, export_checkpoint

    folder = export_checkpoint(arguments.file, arguments.out, half=not arguments.full)
    print(f"Wrote {folder}; describe the weights in its README.md.")
    written = parse_json((folder / CONFIG_FILE).read_bytes())
    print(f"Use it with {find_stored_network(written['architecture']).use.format(folder=folder)}.")
    return 0
