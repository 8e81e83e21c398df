"""Where files lie: on a disk, or in a store such as a bucket that fsspec reaches."""

from __future__ import annotations

import abc
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vos_zoo.errors import MissingExtraError, MissingFileError, StoreError
from vos_zoo.files import atomic_path, local_path
from vos_zoo.media.source import Fetched
from vos_zoo.run_file import RUN_FILE
from vos_zoo.scale.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

__all__ = ["LocalStore", "RemoteStore", "Store", "fetch", "is_remote", "open_store"]

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BY_FFMPEG = re.compile(r"(https?|ftps?|rtsps?|rtmps?)://", re.IGNORECASE)
_SIGNED_FOR = 24 * 3600  # seconds that a signed address must serve, longer than any video takes


class Store(abc.ABC):
    """A folder on a disk or in a store.

    Attributes:
        address: How a user names it.
    """

    address: str

    @abc.abstractmethod
    def open(self, name: str, mode: str) -> IO[Any]:
        """Open a file for reading, as text in UTF-8 (``r``) or as bytes (``rb``).

        Raises:
            MissingFileError: If there is none.
            StoreError: If the store cannot be reached.
        """

    @abc.abstractmethod
    def names(self, folder: str) -> Iterator[str]:
        """List the names right in a folder, in any order; nothing if there is none."""

    @abc.abstractmethod
    def write(self, name: str, text: str) -> None:
        """Write a small file whole; missing folders are made."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    @abc.abstractmethod
    def folder(self, name: str, scratch: Path, *, brings: bool) -> contextlib.AbstractContextManager[Path]:
        """Give a folder on the disk in which one video's results are made, and which goes on where it was left.

        Args:
            name: The folder.
            scratch: Where to make it, if it cannot be made in its place.
            brings: Whether to begin with what the store holds of it.
        """

    def read_text(self, name: str) -> str | None:
        """Read a small file, or None."""
        try:
            with self.open(name, "r") as file:
                return str(file.read())
        except MissingFileError:
            return None


class LocalStore(Store):
    """A folder on a disk.

    Args:
        root: The folder; it need not exist.

    Attributes:
        root: As given.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = str(root)

    def open(self, name: str, mode: str) -> IO[Any]:
        """Open a file for reading."""
        try:
            return (self.root / name).open(mode, encoding=None if "b" in mode else "utf-8", newline=_newline(mode))
        except FileNotFoundError as error:
            raise MissingFileError(f"There is no file `{self.root / name}`.") from error

    def names(self, folder: str) -> Iterator[str]:
        """List the names right in a folder."""
        with contextlib.suppress(FileNotFoundError):
            yield from (entry.name for entry in (self.root / folder).iterdir())

    def write(self, name: str, text: str) -> None:
        """Write a small file whole."""
        with atomic_path(self.root / name) as partial:
            partial.write_text(text, encoding="utf-8")

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.root / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def folder(self, name: str, scratch: Path, *, brings: bool) -> Iterator[Path]:
        """Give the folder itself."""
        yield self.root / name


class RemoteStore(Store):
    """A folder in a store that fsspec reaches.

    Args:
        address: Such as ``s3://bucket/results``.

    Raises:
        MissingExtraError: If fsspec, or the package for this kind of store, is not installed.
        StoreError: If the store is of an unknown kind.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._files, self._root = _file_system(self.address)

    def open(self, name: str, mode: str) -> IO[Any]:
        """Open a file for reading."""
        place = f"{self._root}/{name}"
        with _reached(self.address):
            try:
                # Bytes ahead of what is asked for, so that a long list does not need one request per row.
                options = {} if "b" in mode else {"encoding": "utf-8", "newline": _newline(mode)}
                opened: IO[Any] = self._files.open(place, mode, **options)
                return opened
            except FileNotFoundError as error:
                raise MissingFileError(f"There is no file `{self.address}/{name}`.") from error

    def names(self, folder: str) -> Iterator[str]:
        """List the names right in a folder."""
        place = f"{self._root}/{folder}".rstrip("/")
        with _reached(self.address):
            try:
                self._files.invalidate_cache(place)
                found = self._files.ls(place, detail=False)
            except FileNotFoundError:
                return
        yield from (entry.rstrip("/").rpartition("/")[2] for entry in found)

    def write(self, name: str, text: str) -> None:
        """Write a small file whole: stores show no half of an object."""
        with _reached(self.address):
            self._files.pipe_file(f"{self._root}/{name}", text.encode())

    def remove(self, name: str) -> None:
        """Remove an object."""
        with _reached(self.address), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def folder(self, name: str, scratch: Path, *, brings: bool) -> Iterator[Path]:
        """Give a copy in the scratch folder; what is written there is sent along the way, and the rest at the end."""
        copy = scratch / name
        copy.mkdir(parents=True)
        if brings and self.read_text(f"{name}/{RUN_FILE}") is not None:
            self.bring(name, copy)
        with Mirror(self, name, copy):
            yield copy

    def bring(self, name: str, folder: Path) -> None:
        """Copy what a folder holds to the disk."""
        with _reached(self.address):
            self._files.invalidate_cache(f"{self._root}/{name}")
            self._files.get(f"{self._root}/{name}/", f"{folder}/", recursive=True)

    def send(self, files: Mapping[str, Path]) -> None:
        """Send files, several at a time, to their names in the store."""
        if files:
            with _reached(self.address):
                self._files.put([str(file) for file in files.values()], [f"{self._root}/{name}" for name in files])


def is_remote(place: str | Path) -> bool:
    """Tell whether a name is an address of a store rather than a path.

    Example:
        >>> is_remote("s3://bucket/clips"), is_remote("clips"), is_remote("file:///clips")
        (True, False, True)
    """
    return _ADDRESS.match(str(place)) is not None


def open_store(place: str | Path) -> Store:
    """Open a folder by path or address; see :class:`LocalStore` and :class:`RemoteStore`."""
    text = str(place)
    if text.startswith("file://"):
        return LocalStore(Path(text.removeprefix("file://")))
    return RemoteStore(text) if is_remote(text) else LocalStore(local_path(text))


def fetch(place: str, folder: Path, *, is_repeatable: bool = False) -> str:
    """Give a video or masks in a form that readers open: a path, or an address that FFmpeg reads by range.

    Stores that sign addresses, as S3 and Google's do, serve videos by range; what else lies in a store is copied.

    Args:
        place: Path or address.
        folder: Where to copy what has to be copied; it is the caller's to remove.
        is_repeatable: Whether frames are read more than once, or backwards; an address gives them once.

    Raises:
        MissingFileError: If there is nothing at an address.
        StoreError: If the store cannot be reached.

    Returns:
        What to read. Where it stands for an address, it remembers it.
    """
    if not is_remote(place) or _BY_FFMPEG.match(place):
        return place
    if place.startswith("file://"):
        return place.removeprefix("file://")
    files, path = _file_system(place)
    with _reached(place):
        if not files.exists(path):
            raise MissingFileError(f"There is nothing at `{place}`. Check the address.")
        target = folder / path.rstrip("/").rpartition("/")[2]
        if files.isdir(path):
            files.get(path.rstrip("/") + "/", f"{target}/", recursive=True)
            return Fetched(str(target), place)
        # Masks and prompts are small, and read as files.
        if not is_repeatable and target.suffix.lower() not in (".png", ".json"):
            with contextlib.suppress(NotImplementedError, AttributeError):
                return Fetched(files.sign(path, expiration=_SIGNED_FOR), place)
        target.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(path, str(target))
    return Fetched(str(target), place)


def _file_system(address: str) -> tuple[Any, str]:
    fsspec = _import_fsspec(address)
    try:
        files, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MissingExtraError(
            f"`{address}` needs a package that is not installed ({error}). Install it with `pip install "
            "'vos-zoo[cluster]'`, or the package that the message names."
        ) from error
    except ValueError as error:
        raise StoreError(f"`{address}` is in no store that fsspec knows ({error}). Check the address.") from error
    return files, root


def _import_fsspec(address: str) -> ModuleType:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(
            f"`{address}` is an address of a store, which needs fsspec. Install it with `pip install "
            "'vos-zoo[cluster]'`."
        ) from error
    module: ModuleType = fsspec
    return module


@contextlib.contextmanager
def _reached(address: str) -> Iterator[None]:
    """Give every way in which a store can fail one name; each kind of store has errors of its own."""
    try:
        yield
    except (MissingFileError, FileNotFoundError, StoreError, NotImplementedError, AttributeError):
        raise
    except Exception as error:
        raise StoreError(
            f"Store `{address}` cannot be reached or refuses ({type(error).__name__}: {error}). Check address, network "
            "and rights; repeat the command to resume."
        ) from error


def _newline(mode: str) -> str | None:
    return None if "b" in mode else ""
