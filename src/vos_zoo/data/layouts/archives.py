"""Files of a data set, read in place from a folder, from uncompressed zip shards inside it, or from one zip."""

from __future__ import annotations

import io
import itertools
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.data.layouts.last_read import note_reading
from vos_zoo.errors import DataError, MissingFileError, VosZooError
from vos_zoo.limits import byte_excess
from vos_zoo.media.image_files import DAMAGE, open_image

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
_BAD_MEMBER = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error)
_VOID = 255  # the object of binary masks, unlabelled pixels beside other ids


class FileTree:
    """Read-only view of the files below a folder and inside the zip files that lie directly in it.

    Names are POSIX paths relative to the folder or to the top of a zip, so a data set has the same names whether
    it was unpacked or not. A plain file wins over a zip member of the same name. Zip handles are opened on first use
    in each process: an open file offset must never be shared between a process and its forks.

    Args:
        root: A folder, or one zip file.
        folders: The folders below ``root`` to list beside the files right in it; None lists everything.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If a zip file cannot be read.
    """

    def __init__(self, root: str | os.PathLike[str], *, folders: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        if not self.root.exists():
            raise MissingFileError(
                f"Data folder {str(self.root)!r} does not exist. Expected a folder with files or zip shards, or one "
                "zip file. Check the path."
            )
        shards = [self.root] if self.root.is_file() else sorted(self.root.glob("*.zip"))
        self._shard_of: dict[str, Path | None] = {}
        for shard in shards:
            for info in _open_zip(shard).infolist():
                if not info.is_dir():
                    self._shard_of.setdefault(info.filename, shard)
        if self.root.is_dir():
            visited: set[str] = set()
            starts = [self.root, *(self.root / folder for folder in folders or ())]
            for folder, subfolders, files in itertools.chain.from_iterable(
                os.walk(start, followlinks=True) for start in starts
            ):
                # Data sets are often linked into place; a link back up must not be walked for ever.
                real = os.path.realpath(folder)
                if real in visited:
                    subfolders.clear()
                    continue
                visited.add(real)
                if folders is not None and folder == os.fspath(self.root):
                    subfolders.clear()
                for file in files:
                    path = Path(folder, file)
                    if path.suffix != ".zip":
                        self._shard_of[path.relative_to(self.root).as_posix()] = None
        self._handles: dict[Path, zipfile.ZipFile] = {}
        self._process = os.getpid()

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        return sorted(self._shard_of)

    def __contains__(self, name: object) -> bool:
        """Tell whether a file of this name exists."""
        return name in self._shard_of

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Raises:
            DataError: If there is no file of this name, it cannot be read, its zip member is damaged, encrypted or
                packed in an unknown way, or unpacks into more than ``VOS_ZOO_MAX_FILE_BYTES`` allows.
        """
        if name not in self._shard_of:
            raise DataError(
                f"File {name!r} is missing in {str(self.root)!r}. Expected it there; complete the data set."
            )
        shard = self._shard_of[name]
        note_reading(f"{self.root if shard is None else shard}/{name}")
        if shard is None:
            try:
                return (self.root / name).read_bytes()
            except OSError as error:
                raise DataError(
                    f"File {str(self.root / name)!r} cannot be read ({error.strerror}). Check its rights and the disk."
                ) from error
        if self._process != os.getpid():
            self._handles, self._process = {}, os.getpid()
        if shard not in self._handles:
            self._handles[shard] = _open_zip(shard)
        excess = byte_excess(self._handles[shard].getinfo(name).file_size)
        if excess is not None:
            raise DataError(f"File {name!r} in {str(shard)!r} is too large: {excess}.")
        try:
            return self._handles[shard].read(name)
        except _BAD_MEMBER as error:
            raise DataError(
                f"Zip file {str(shard)!r} is damaged at {name!r} ({error}). Expected readable members; copy the "
                "file again."
            ) from error
        except (RuntimeError, NotImplementedError) as error:
            raise DataError(
                f"{name!r} in zip file {str(shard)!r} is encrypted or packed in an unknown way ({error}). Expected "
                "members without a password, stored or deflated. Pack the data again."
            ) from error

    def read_picture(self, name: str) -> NDArray[np.uint8]:
        """Return a JPEG or PNG image as RGB, shape (H, W, 3).

        Raises:
            DataError: If the file is missing or cannot be decoded.
        """
        return decode_picture(self.read(name), f"{name!r} in {str(self.root)!r}")

    def read_mask(self, name: str) -> NDArray[np.uint8]:
        """Return the object ids of a palette or 8-bit grey PNG, shape (H, W); see :func:`decode_mask`.

        Raises:
            DataError: If the file is missing, cannot be decoded or has another pixel format.
        """
        return decode_mask(self.read(name), f"{name!r} in {str(self.root)!r}")

    def __getstate__(self) -> dict[str, object]:
        """Leave open handles out when the tree travels to a worker process."""
        return {**self.__dict__, "_handles": {}}


def decode_picture(content: bytes, place: str) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG image as RGB, shape (H, W, 3).

    Args:
        content: Of the file.
        place: Where it lies, for messages.

    Raises:
        DataError: If it cannot be decoded.
    """
    image = None
    try:
        with open_image(io.BytesIO(content)):  # OpenCV would make room for any size before it reads
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except VosZooError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"Image {place} is too large: {error}.") from error
    except (*DAMAGE, cv2.error):
        pass
    if image is None:
        raise DataError(f"Image {place} cannot be decoded. Expected a JPEG or PNG file. Replace or remove it.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def decode_mask(content: bytes, place: str) -> NDArray[np.uint8]:
    """Decode the object ids of a palette or 8-bit grey PNG, shape (H, W).

    255 is the object of a mask without other ids, and unlabelled, thus background, beside other ids. Pillow reads
    the file because OpenCV turns palette ids into grey levels.

    Args:
        content: Of the file.
        place: Where it lies, for messages.

    Raises:
        DataError: If it cannot be decoded or has another pixel format.
    """
    try:
        with open_image(io.BytesIO(content)) as picture:
            if picture.mode not in {"P", "L", "1"}:
                raise DataError(
                    f"Mask {place} has the pixel format {picture.mode}. Training masks hold one object id below 255 "
                    "per pixel (palette or 8-bit grey PNG). Convert it."
                )
            mask = np.array(picture, dtype=np.uint8)
    except VosZooError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"Mask {place} is too large: {error}.") from error
    except DAMAGE as error:
        raise DataError(
            f"Mask {place} cannot be decoded ({error}). Expected a PNG file. Replace or remove it."
        ) from error
    if mask.max(initial=0) == _VOID:
        is_void = mask == _VOID
        mask[is_void] = 0 if (mask[~is_void] > 0).any() else 1
    return mask


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    # The others are what damage in the list of members raises, depending on where it is.
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise DataError(
            f"File {str(path)!r} is not a zip archive ({error}). Expected zip shards; remove it or copy it again."
        ) from error
