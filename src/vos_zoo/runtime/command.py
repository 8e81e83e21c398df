"""A small command around the session: a folder of images and a mask in, a folder of masks out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vos_zoo.errors import MissingExtraError, MissingFileError, OutputExistsError, VideoError, VosZooError
from vos_zoo.files import check_outputs, natural_key, printable
from vos_zoo.runtime.session import GraphSession

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "segment_images"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_BAD_INPUT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Segment a folder of images and return the exit code: 0, or 2 for bad input.

    Args:
        argv: Arguments without the program's name; None takes them from the command line.
    """
    parser = argparse.ArgumentParser(description="Segment objects through a folder of images with exported graphs.")
    parser.add_argument("graphs", type=Path, help="folder that `vos-zoo export-onnx` wrote")
    parser.add_argument("frames", type=Path, help="folder of images, in the order of their names")
    parser.add_argument("mask", type=Path, help="mask of the first image: object ids, palette or grey PNG")
    parser.add_argument("--out", type=Path, required=True, help="folder for the masks")
    parser.add_argument("--provider", default="cpu", help="execution provider of ONNX Runtime (default: cpu)")
    arguments = parser.parse_args(argv)
    try:
        segment_images(arguments.graphs, arguments.frames, arguments.mask, arguments.out, provider=arguments.provider)
    except VosZooError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return _BAD_INPUT
    return 0


def segment_images(graphs: Path, frames: Path, mask: Path, out: Path, *, provider: str = "cpu") -> int:
    """Segment a folder of images.

    Args:
        graphs: What ``vos-zoo export-onnx`` wrote.
        frames: Images of one video, in the order of their names.
        mask: Mask of the first image.
        out: Folder for the masks, PNG files named like the images; it must not hold any.
        provider: Execution provider of ONNX Runtime.

    Returns:
        The number of frames.

    Raises:
        MissingExtraError: If Pillow is not installed.
        MissingFileError: If a folder or the mask does not exist.
        VideoError: If there are no images, or one cannot be read.
        OutputExistsError: If a mask exists already.
        VosZooError: As :class:`GraphSession` says.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError(
            "Reading images needs Pillow, which is not installed. Install it with `python -m pip install pillow`, or "
            "hand arrays to a GraphSession."
        ) from error
    from vos_zoo.media.masks import read_mask, write_mask

    if not frames.is_dir():
        raise MissingFileError(f"There is no folder `{frames}`. Give a folder of images.")
    images = sorted(
        (path for path in frames.iterdir() if path.suffix.lower() in _SUFFIXES), key=lambda p: natural_key(p.name)
    )
    if not images:
        raise VideoError(f"Folder `{frames}` holds no images ({', '.join(_SUFFIXES)}). Give the folder that does.")
    check_outputs([out], [frames, mask, graphs])
    targets = [out / f"{image.stem}.png" for image in images]
    existing = [target for target in targets if target.exists()]
    if existing:
        raise OutputExistsError(f"`{existing[0]}` exists. Choose another folder; nothing is replaced.")
    first = read_mask(mask)
    session = GraphSession(graphs, provider=provider)
    for number, (path, target) in enumerate(zip(images, targets, strict=True)):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise VideoError(f"Image `{path}` cannot be read ({error}). Repair or remove it.") from error
        write_mask(target, session.step(pixels, first if number == 0 else None).mask)
        print(f"\r{number + 1}/{len(images)} frames", end="", file=sys.stderr, flush=True)  # noqa: T201
    print(file=sys.stderr)  # noqa: T201
    return len(images)
