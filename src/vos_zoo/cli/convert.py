"""``vos-zoo convert``: turn the authors' weight files into checkpoints of this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.registry import ARCHITECTURES

if TYPE_CHECKING:
    import argparse

SUMMARY = "Turn a weight file released by a paper's authors into a checkpoint folder."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the authors' file, as torch.save wrote it")
    parser.add_argument(
        "--from",
        dest="kind",
        required=True,
        metavar="NAME",
        help=f"model that the file belongs to: {', '.join(_convertible())}, or one of another package",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--accept-missing",
        action="store_true",
        help="accept a file of an early stage, and initialise the modules that a later stage adds, for training",
    )


def _convertible() -> list[str]:
    return sorted(name for name, architecture in ARCHITECTURES.items() if architecture.converter is not None)


def run(arguments: argparse.Namespace) -> int:
    """Convert and say how to use the result."""
    from vos_zoo.models.conversion import convert_file

    folder = convert_file(arguments.kind, arguments.file, arguments.out, accept_missing=arguments.accept_missing)
    print(f"Wrote {folder}")
    print(f"Use it with `vos-zoo segment VIDEO MASKS --out DIR --model {folder}` or `load_model({str(folder)!r})`.")
    return 0
