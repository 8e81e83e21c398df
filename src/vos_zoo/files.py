"""What a file is; writing it whole or not at all, never over an input, and into a folder by one run alone."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import platform
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vos_zoo.errors import MissingFileError, OutputExistsError, OutputInUseError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_logger = logging.getLogger(__name__)

PARTIAL_SUFFIX = ".part"
"""Ending of files that are still being written; they are hidden and never a result."""

_HEAD_BYTES = 512
_LOCK_POLL = 0.05  # seconds between two attempts at a lock
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
# EFBIG is the user's own limit on the size of files, and that of some file systems.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True)
class FileKind:
    """What the first bytes of a file say about it.

    Attributes:
        name: A phrase for messages, with its article ("a PNG image").
        family: One of "image", "video", "audio", "document", "text", "archive", "empty", "unknown".
    """

    name: str
    family: str


_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", FileKind("a PNG image", "image")),
    (0, b"\xff\xd8\xff", FileKind("a JPEG image", "image")),
    (0, b"GIF8", FileKind("a GIF image", "image")),
    (0, b"BM", FileKind("a BMP image", "image")),
    (0, b"II*\x00", FileKind("a TIFF image", "image")),
    (0, b"MM\x00*", FileKind("a TIFF image", "image")),
    (8, b"WEBP", FileKind("a WebP image", "image")),
    (8, b"AVI ", FileKind("an AVI video", "video")),
    (8, b"WAVE", FileKind("a WAV sound file", "audio")),
    (4, b"ftyphe", FileKind("a HEIC image", "image")),
    (4, b"ftypmif1", FileKind("a HEIC image", "image")),
    (4, b"ftypavif", FileKind("an AVIF image", "image")),
    (4, b"ftypavis", FileKind("an animated AVIF image", "image")),
    (4, b"ftypM4A", FileKind("an M4A sound file", "audio")),
    (4, b"ftyp", FileKind("an MP4 or MOV video", "video")),
    (0, b"\x1aE\xdf\xa3", FileKind("a Matroska or WebM video", "video")),
    (0, b"YUV4MPEG2 ", FileKind("a YUV4MPEG video", "video")),
    (0, b"ID3", FileKind("an MP3 sound file", "audio")),
    (0, b"fLaC", FileKind("a FLAC sound file", "audio")),
    (0, b"%PDF", FileKind("a PDF document", "document")),
    (0, b"\x93NUMPY", FileKind("a NumPy array file", "document")),
    (0, b"\x89HDF", FileKind("an HDF5 file", "document")),
    (0, b"PK\x03\x04", FileKind("a zip archive", "archive")),
    (0, b"\x1f\x8b", FileKind("a gzip archive", "archive")),
    (0, b"7z\xbc\xaf", FileKind("a 7z archive", "archive")),
    (0, b"Rar!", FileKind("a RAR archive", "archive")),
)


def file_kind(path: str | Path) -> FileKind:
    """Tell what a file is by its first bytes; the name of the file plays no part.

    Args:
        path: An existing, readable file.

    Returns:
        The kind, with a phrase for messages.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.mp4").write_text("<!DOCTYPE html><title>404</title>")
        ...     file_kind(Path(folder) / "a.mp4").name
        'an HTML page'
    """
    with Path(path).open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return FileKind("an empty file", "empty")
    for offset, signature, kind in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind
    if head.startswith(b"version https://git-lfs"):
        return FileKind("a Git LFS pointer, not the file itself (run `git lfs pull`)", "text")
    if not any(head):
        return FileKind("a file of zero bytes, as an interrupted copy leaves behind", "unknown")
    if _is_text(head):
        is_html = re.match(rb"(?i)\s*(<!doctype html|<html)", head) is not None
        return FileKind("an HTML page" if is_html else "a text file", "text")
    return FileKind("a binary file of unknown format", "unknown")


def is_full(error: OSError) -> bool:
    """Tell whether there is no room left for a file, on the disk or within the user's limits."""
    return error.errno in _FULL


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Return a temporary path in the same folder, which becomes ``path`` when the block ends well.

    A reader therefore never sees half a file, and a failed write leaves the older file as it was.
    Missing parent folders are made.

    Args:
        path: The final path.

    Yields:
        The path to write to. Its name starts with a dot and ends in ``PARTIAL_SUFFIX``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Process and thread in the name: two writers of one file must not write into each other's half.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL_SUFFIX}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno is not None and (error.filename is None or _is_below(error.filename, partial)):
            raise _under_name(error, path) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_path(path: str | Path, place: Callable[[Path, Path], None] | None = None) -> Iterator[Path]:
    """Return a path in a fresh folder beside ``path``; what is there becomes ``path`` when the block ends well.

    For results of several files, or with temporary files: all of it appears at once, or nothing. Missing parent folders
    are made.

    Args:
        path: The final path of a file or folder. An older file is replaced; an older folder must be empty.
        place: Puts what is staged, its first argument, at the final path, its second; None renames it.

    Yields:
        The path to write to. It has the same name, does not exist yet, and lies in a hidden folder whose name ends in
        ``PARTIAL_SUFFIX``, which is removed with all that is in it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL_SUFFIX}")
    stage.mkdir()
    try:
        yield stage / path.name
        (_rename if place is None else place)(stage / path.name, path)
    except OSError as error:
        if error.errno is not None and _is_below(error.filename or stage, stage):
            raise _under_name(error, path) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _is_below(name: str | Path, path: Path) -> bool:
    """Tell whether a name is a path or in it. FFmpeg is given absolute ones, and its errors have them."""
    return Path(name).absolute().is_relative_to(path.absolute())


def _under_name(error: OSError, path: Path) -> OSError:
    """Give an error under the final name of what the system refused; PyAV's own errors cannot be renamed."""
    renamed = type(error) if type(error).__module__ == "builtins" else OSError
    return renamed(error.errno, error.strerror, str(path))


def _rename(staged: Path, path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    staged.replace(path)


def parse_json(text: str | bytes, **options: Any) -> Any:
    """Read JSON of any origin.

    Args:
        text: The JSON.
        **options: Those of ``json.loads``.

    Raises:
        ValueError: If it is not JSON, is in another encoding, or is nested so deeply that it cannot be read.
    """
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


LOCK_FILE = ".vos_zoo.lock"
"""Held by the run that writes into a folder; hidden and never a result."""


@contextlib.contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Keep every other run, of this process too, from writing into a folder as long as the block lasts.

    See :func:`file_lock` for who holds the lock and how long.

    Args:
        folder: Where this run will write; it is made if it does not exist.

    Raises:
        OutputInUseError: If another run writes there.
        OutputExistsError: If there is a file instead of a folder.
        OSError: If nobody can write there.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputExistsError(
            f"`{folder}` is a file where an output folder was expected. Choose a new name."
        ) from error
    with _held(folder / LOCK_FILE, folder):
        yield


@contextlib.contextmanager
def file_lock(path: str | Path, *, what: str | Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock file of its own as long as the block lasts, for what one process at a time may do.

    The system holds the lock for this process and takes it back when the process ends, however it ends. Processes that
    it forks do not inherit it. Where a file system has no locks, there is none. The file is gone afterwards.

    Args:
        path: The lock file, in a folder that exists.
        what: What is locked, for messages.
        wait: Seconds to wait until another process leaves it.

    Raises:
        OutputInUseError: If another process, or another thread of this one, holds the lock.
        OSError: If nobody can write there.
    """
    deadline = time.monotonic() + wait
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(_held(Path(path), Path(what)))
                break
            except OutputInUseError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_POLL)
        yield


@contextlib.contextmanager
def _held(path: Path, what: Path) -> Iterator[None]:
    found, process = path.parent.stat(), os.getpid()
    owner = (process, found.st_dev, found.st_ino, path.name)
    with _LOCKING:
        if owner in _LOCKED:  # a process gets its own lock twice from the system
            raise OutputInUseError(_in_use(what, "this process"))
        opened = _open_locked(path, what)
        _LOCKED.add(owner)
    try:
        yield
    finally:
        if os.getpid() == process:  # not where a fork leaves the block
            with _LOCKING:
                _LOCKED.discard(owner)
                _close_locked(path, opened)


_LOCKING = threading.Lock()
# Process, device and number of a folder, and name in it; a forked process holds nothing.
_LOCKED: set[tuple[int, int, int, str]] = set()
_WITHOUT_LOCKS: set[Path] = set()  # folders that a warning was given for


def _open_locked(path: Path, what: Path) -> int:
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(opened)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                if path.parent not in _WITHOUT_LOCKS:
                    _WITHOUT_LOCKS.add(path.parent)
                    _logger.warning(
                        "%s is on a file system without locks; let one run at a time write there.", path.parent
                    )
                return opened
            other = _read_note(opened)
            os.close(opened)
            if error.errno in _HELD:
                raise OutputInUseError(_in_use(what, other or "another process")) from error
            raise
        # A run that has ended meanwhile removed the file that was opened here, and the next one would make another.
        if path.exists() and os.path.samestat(os.fstat(opened), path.stat()):
            break
        os.close(opened)
    with contextlib.suppress(OSError):  # a full disk: then nobody is told which process it is
        os.ftruncate(opened, 0)
        os.write(opened, f"process {os.getpid()} on {platform.node()}".encode())
    return opened


def _read_note(opened: int) -> str:
    try:
        return os.read(opened, 100).decode(errors="replace")
    except OSError:  # Windows lets nobody read what is locked
        return ""


def _close_locked(path: Path, opened: int) -> None:
    if sys.platform != "win32":
        path.unlink(missing_ok=True)  # while it is locked, so that it is this run's
    os.close(opened)
    if sys.platform == "win32":  # which removes no open file
        with contextlib.suppress(OSError):
            path.unlink()


def _lock(opened: int) -> None:
    """Lock the first byte of a file for this process, at once or not at all."""
    if sys.platform == "win32":
        msvcrt.locking(opened, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)


def _in_use(folder: Path, other: str) -> str:
    return (
        f"Another run is writing into {folder} ({other}). One run at a time can write into a folder. Wait until it has "
        "ended, stop it, or choose another folder."
    )


def is_leftover(name: str) -> bool:
    """Tell whether a file's name is one that :func:`atomic_path` gives, so that a killed run has left the file.

    Example:
        >>> is_leftover(".00000.png.4711-123456.part"), is_leftover(".film.mp4.part")
        (True, False)
    """
    return re.fullmatch(rf"\..+\.\d+-\d+{re.escape(PARTIAL_SUFFIX)}", name) is not None


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Refuse to write where something is read from, whatever the user allows to be replaced.

    Files are compared by what the system says they are, not by their names: links, ``..`` and names that differ only in
    case lead to the same file. Every command calls this before it writes anything.

    Args:
        outputs: Files and folders that are going to be written. Those that do not exist yet replace nothing.
        inputs: Files and folders that are read. A folder stands for itself and for the files right in it.

    Raises:
        OutputExistsError: If an output is one of the inputs.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as frames:
        ...     check_outputs([Path(frames) / "masks"], [frames])  # a new folder beside the frames
        ...     try:
        ...         check_outputs([f"{frames}/."], [frames])
        ...     except OutputExistsError:
        ...         print("refused")
        refused
    """
    read = {_identity(Path(path)): path for path in inputs}
    for output in map(Path, outputs):
        if not output.exists():
            continue
        places = [output] if output.is_dir() else [output, output.parent, output.resolve().parent]
        source = next((read[key] for key in map(_identity, places) if key in read), None)
        if source is not None:
            where = "" if str(source) == str(output) else f" (`{source}`)"
            raise OutputExistsError(
                f"`{output}` is an input of this command{where}, and results would replace or mix with it. Nothing was "
                "written. Choose another place for the results; inputs are never replaced."
            )


def _identity(path: Path) -> tuple[int, int] | str:
    """Return what two names of one file have in common."""
    try:
        status = path.stat()
    except OSError:
        status = None
    if status is None or status.st_ino == 0:  # file systems without such numbers
        return os.path.normcase(os.path.realpath(path))
    return status.st_dev, status.st_ino


def local_path(path: str | Path) -> Path:
    """Return the path of a local file, with a leading ``~`` as the home folder unless a file is really named so.

    Args:
        path: As a user gave it.

    Example:
        >>> local_path("~/clip.mp4") == Path.home() / "clip.mp4"
        True
    """
    path = Path(path)
    if path.parts[:1] and path.parts[0].startswith("~") and not path.exists():
        with contextlib.suppress(RuntimeError):  # no such user
            return path.expanduser()
    return path


def refuse_dangling(files: Sequence[Path], what: str) -> None:
    """Refuse links to files that are not there, such as git-annex leaves for content that was not fetched.

    Args:
        files: Entries of one folder.
        what: What messages call them.

    Raises:
        MissingFileError: If there are any; the message names them.
    """
    dangling = [file for file in files if file.is_symlink() and not file.exists()]
    if dangling:
        names = ", ".join(file.name for file in dangling[:3]) + (f" … {dangling[-1].name}" if dangling[3:] else "")
        raise MissingFileError(
            f"{len(dangling)} of the {len(files)} {what} in `{dangling[0].parent}` are links to files that are not "
            f"there: {names} (the first leads to `{dangling[0].readlink()}`). Fetch them (such as by `git annex get`), "
            "or remove the links."
        )


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which "frame2" comes before "frame10".

    Args:
        name: A file name or stem.

    Returns:
        A key for ``sorted``; names that differ only in leading zeros stay apart.

    Example:
        >>> sorted(["f10", "f2", "f1"], key=natural_key)
        ['f1', 'f2', 'f10']
    """
    parts = re.split(r"([0-9]+)", name)
    # Text and numbers alternate, so equal positions always compare equal kinds.
    key = tuple((1, int(part), "") if i % 2 else (0, 0, part.lower()) for i, part in enumerate(parts))
    return (*key, (-1, 0, name))


def printable(text: str) -> str:
    r"""Write a name from a file system or a file so that it only shows on a terminal, and does nothing there.

    Args:
        text: Any text; control characters could move the cursor, colour what follows, or hide it.

    Returns:
        One line in which everything but letters, digits, signs and plain spaces is escaped.

    Example:
        >>> printable("dog\x1b[2Jcat"), printable("über\n")
        ('dog\\x1b[2Jcat', 'über\\n')
    """
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut at the end of the head is not a sign of binary data.
        return error.start >= len(head) - 3 and len(head) == _HEAD_BYTES
    return not any(byte < 9 for byte in head)


def missing_bytes(path: str | Path) -> int:
    """Count the bytes that a video file announces in its headers but does not have.

    MP4/MOV, Matroska/WebM and AVI say how long they are, so a copy or recording that was cut short shows. Other formats
    do not say it.

    Args:
        path: An existing, readable file.

    Returns:
        Missing bytes; 0 if the file is whole, or if its format does not tell.

    Source: ISO/IEC 14496-12 section 4.2 (boxes), RFC 8794 sections 4 to 6 (EBML sizes), Microsoft RIFF.
    """
    path = Path(path)
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            announced = _end_of_boxes(file, length)
        elif head.startswith(b"\x1aE\xdf\xa3"):
            announced = _end_of_segment(file)
        elif head.startswith(b"RIFF") and 0 < int.from_bytes(head[4:8], "little") < 2**32 - 1:
            announced = 8 + int.from_bytes(head[4:8], "little")
        else:
            announced = 0
    return max(0, announced - length)


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    """Walk the top-level boxes of an MP4 file to where the last of them should end."""
    end = 0
    while end < length:
        file.seek(end)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        # Size 0 means "up to the end of the file"; other small values are padding or damage, which tell nothing.
        if size < 8 or not header[4:8].isalnum():
            break
        end += size
    return end


def _end_of_segment(file: BinaryIO) -> int:
    """Find where the Segment element of a Matroska file should end; 0 if it does not say."""
    file.seek(4)
    header_size = _ebml_size(file)
    if header_size is None:
        return 0
    file.seek(header_size, os.SEEK_CUR)
    if file.read(4) != b"\x18S\x80g":
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """Read a variable-length size; None if it is unknown, as in live recordings."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] ^ (0x80 >> extra)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value
