"""Files of a data set, read in place from a folder, from uncompressed zip shards inside it, or from one zip."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from vos_zoo.errors import DataError, MissingFileError


class FileTree:
    """Read-only view of the files below a folder and inside the zip files that lie directly in it.

    Names are POSIX paths relative to the folder or to the top of a zip, so a data set has the same names whether
    it was unpacked or not. A plain file wins over a zip member of the same name. Zip handles are opened on first use in each
    process: an open file offset must never be shared between a process and its forks.

    Args:
        root: A folder, or one zip file.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If a zip file cannot be read.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not self.root.exists():
            raise MissingFileError(
                f"Data folder {str(self.root)!r} does not exist. Expected a folder with files or zip shards, or one zip "
                "file. Check the path."
            )
        shards = [self.root] if self.root.is_file() else sorted(self.root.glob("*.zip"))
        self._shard_of: dict[str, Path | None] = {}
        for shard in shards:
            for info in _open_zip(shard).infolist():
                if not info.is_dir():
                    self._shard_of.setdefault(info.filename, shard)
        if self.root.is_dir():
            for folder, _, files in os.walk(self.root, followlinks=True):
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
            DataError: If there is no file of this name, or its zip member is damaged.
        """
        if name not in self._shard_of:
            raise DataError(
                f"File {name!r} is missing in {str(self.root)!r}. Expected it there; complete the data set."
            )
        shard = self._shard_of[name]
        if shard is None:
            return (self.root / name).read_bytes()
        if self._process != os.getpid():
            self._handles, self._process = {}, os.getpid()
        if shard not in self._handles:
            self._handles[shard] = _open_zip(shard)
        try:
            return self._handles[shard].read(name)
        except zipfile.BadZipFile as error:
            raise DataError(
                f"Zip file {str(shard)!r} is damaged at {name!r} ({error}). Expected readable members; copy the file anew."
            ) from error

    def __getstate__(self) -> dict[str, object]:
        """Leave open handles out when the tree travels to a worker process."""
        return {**self.__dict__, "_handles": {}}


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"File {str(path)!r} is no zip archive ({error}). Expected zip shards; remove it or copy it anew."
        ) from error
