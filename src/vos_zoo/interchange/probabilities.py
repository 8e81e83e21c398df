"""Probabilities of objects on disk, 8 bits each: what soft edges are made of."""

from __future__ import annotations

import glob
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.errors import MaskError, MissingFileError, ShapeError
from vos_zoo.files import atomic_path, is_leftover
from vos_zoo.media.image_files import DAMAGE, open_image

__all__ = ["PROBABILITIES_FOLDER", "ProbabilityReader", "ProbabilityWriter"]

PROBABILITIES_FOLDER = "probabilities"
"""Name of the folder beside the masks; in it, one folder per object, named by its id, with a grey PNG per frame."""

_CERTAIN = 255


class ProbabilityWriter:
    """Writes the probabilities of the objects of every frame beside its mask.

    Args:
        results: Folder of the masks. What a killed run has left half-written in its probabilities is removed.
    """

    def __init__(self, results: Path) -> None:
        self._folder = results / PROBABILITIES_FOLDER
        for path in self._folder.glob("*/.*"):
            if is_leftover(path.name):
                path.unlink()

    def write(self, name: str, planes: Iterable[tuple[int, NDArray[Any]]]) -> None:
        """Write one frame. Files appear complete or not at all, and replace those that an earlier run left for it.

        Args:
            name: Name of the frame.
            planes: Id and probability of every object, 0-1, float, shape (H, W). They are taken one at a time.

        Raises:
            ShapeError: If a plane has another shape.
        """
        written = set()
        for object_id, plane in planes:
            if plane.ndim != 2:
                raise ShapeError(f"The probability of object {object_id} has shape {plane.shape}. Expected (H, W).")
            content = io.BytesIO()  # Pillow writing to a full disk does not say that it is full
            Image.fromarray(_to_8_bits(plane)).save(content, format="PNG", compress_level=3)
            file = self._folder / str(object_id) / f"{name}.png"
            with atomic_path(file) as partial:
                partial.write_bytes(content.getvalue())
            written.add(file)
        for older in set(self._folder.glob(f"*/{glob.escape(name)}.png")) - written:
            older.unlink()


class ProbabilityReader:
    """Reads what a :class:`ProbabilityWriter` has written.

    Args:
        results: Folder of the masks.
        size: (H, W) of the masks.

    Raises:
        MissingFileError: If no probabilities were written.
    """

    def __init__(self, results: Path, size: tuple[int, int]) -> None:
        self._folder = results / PROBABILITIES_FOLDER
        self._size = size
        if not self._folder.is_dir():
            raise MissingFileError(
                f"Soft edges were asked for, but `{results}` has no folder `{PROBABILITIES_FOLDER}`. Masks alone have "
                "hard edges. Segment the video again with save_probabilities=True (`--save-probabilities`), or export "
                "without soft edges."
            )

    def read(self, name: str, object_ids: Sequence[int], visible: Collection[int]) -> Mapping[int, NDArray[np.uint8]]:
        """Read one frame.

        Args:
            name: Name of the frame.
            object_ids: Ids of the objects that are wanted.
            visible: Ids of the objects in the frame's mask. Others may have no file, as before they enter the video.

        Returns:
            Probabilities of the objects that have any in this frame, uint8 with 255 for certain, shape (H, W), by id.

        Raises:
            MissingFileError: If a visible object has no file for the frame.
            MaskError: If a file is damaged, or of another size than the masks.
        """
        found = {}
        for object_id in object_ids:
            file = self._folder / str(object_id) / f"{name}.png"
            if file.exists():
                found[object_id] = self._read(file)
            elif object_id in visible:
                raise MissingFileError(
                    f"Object {object_id} is in the mask of frame {name}, but its probabilities `{file}` are not there. "
                    "Segment the video again with save_probabilities=True (`--save-probabilities`), or export without "
                    "soft edges."
                )
        return {object_id: plane for object_id, plane in found.items() if plane.any()}

    def _read(self, file: Path) -> NDArray[np.uint8]:
        try:
            with open_image(file) as image:
                mode, plane = image.mode, np.array(image)
        except (*DAMAGE, Image.DecompressionBombError) as error:
            raise MaskError(f"Probabilities `{file}` cannot be read ({error}). Segment the video again.") from error
        if mode != "L" or plane.shape != self._size:
            raise MaskError(
                f"Probabilities `{file}` are a {mode} image of {plane.shape[1]}x{plane.shape[0]} (width x height); "
                f"expected 8-bit grey of the masks' size, {self._size[1]}x{self._size[0]}. Segment the video again."
            )
        return plane


def _to_8_bits(plane: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(np.clip(plane, 0, 1) * _CERTAIN).astype(np.uint8)
