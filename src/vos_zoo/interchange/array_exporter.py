"""Masks as one NumPy file."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame

__all__ = ["ArrayExporter"]


class ArrayExporter(Exporter):
    """A compressed ``.npz`` file, as ``numpy.load`` reads it.

    It holds ``masks`` (T, H, W) of object ids, uint8 where they fit, else uint16 or int32; ``frames``, the names of the
    frames; ``indices``, their positions in the whole video; ``objects``, the ids; ``labels``, what they are called; and
    with soft edges ``probabilities`` (T, O, H, W) as the model gave them, uint8 with 255 for certain, in the order of
    ``objects``.
    """

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        largest = max(video.objects, default=0)
        self._type = np.dtype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.int32)
        # An archive takes one array after the other, so that the second one waits, compressed, in a file of its own.
        self._waiting_path = path.with_name(f"{path.name}.probabilities.gz")
        self._waiting: gzip.GzipFile | None = None
        self._masks: IO[bytes] | None = None
        self._archive = zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED)
        with contextlib.ExitStack() as stack:
            stack.callback(self.discard)
            self._write_names()
            self._masks = self._begin("masks", (len(video.frame_names), *video.size), self._type)
            stack.pop_all()

    def write(self, frame: ResultFrame) -> None:
        """Append one mask, and the probabilities of all objects."""
        assert self._masks is not None
        self._masks.write(_bytes(frame.mask, self._type))
        if frame.probabilities is None:
            return
        if self._waiting is None:
            self._waiting = gzip.open(self._waiting_path, "wb", compresslevel=1)  # noqa: SIM115  # closed in `discard`
        nothing = np.zeros(self.video.size, np.uint8)
        for object_id in self.video.objects:
            self._waiting.write(_bytes(frame.probabilities.get(object_id, nothing), nothing.dtype))

    def close(self) -> None:
        """Finish the file."""
        assert self._masks is not None
        self._masks.close()
        if self._waiting is not None:
            self._waiting.close()
            shape = (len(self.video.frame_names), len(self.video.objects), *self.video.size)
            with (
                gzip.open(self._waiting_path, "rb") as waiting,
                self._begin("probabilities", shape, np.dtype(np.uint8)) as file,
            ):
                shutil.copyfileobj(waiting, file, 2**20)
            self._waiting_path.unlink()
        self._archive.close()

    def discard(self) -> None:
        """Close the files, also on a disk that takes no more."""
        closings = [file.close for file in (self._waiting, self._masks) if file is not None]
        for close in (*closings, self._archive.close):
            with contextlib.suppress(OSError):
                close()

    def _write_names(self) -> None:
        video = self.video
        for name, array in (
            ("frames", np.array(video.frame_names, dtype=np.str_)),
            ("indices", np.array(video.frame_indices, dtype=np.int64)),
            ("objects", np.array(video.objects, dtype=np.int64)),
            ("labels", np.array([video.label(object_id) for object_id in video.objects], dtype=np.str_)),
        ):
            with self._archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)

    def _begin(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> IO[bytes]:
        # Sizes of more than 4 GiB are announced by what comes before them, when nobody knows them yet.
        file = self._archive.open(f"{name}.npy", "w", force_zip64=True)
        description = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, description)
        return file


def _bytes(pixels: NDArray[Any], kind: np.dtype[Any]) -> memoryview:
    return np.ascontiguousarray(pixels, dtype=kind).data
