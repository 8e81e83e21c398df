"""What the commands share when they read sizes, write and print."""

from __future__ import annotations

import argparse
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vos_zoo.errors import OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["byte_count", "check_new_files", "explain_os_error", "format_bytes", "frame_size", "named_path"]

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_MISPLACED = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def check_new_files(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace files, before any work is done.

    Raises:
        OutputExistsError: If one of the files exists and ``overwrite`` is False.
    """
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise OutputExistsError(f"{path} exists. Choose another name, or replace a file with `--overwrite`.")


def explain_os_error(error: OSError) -> str:
    """Say what the system refused, what survived, and what to do.

    Args:
        error: What was raised; the library writes files whole or not at all, so that nothing half-written remains.
    """
    path = error.filename if isinstance(error.filename, (str, os.PathLike)) else None
    at = "" if path is None else f" at `{os.fspath(path)}`"
    reason = error.strerror or str(error).strip() or type(error).__name__
    kept = "What was complete before is kept, and nothing half-written remains."
    if error.errno in _FULL:
        return f"No space is left{at} ({reason}). {kept} Free some space, or write to another disk; then run it again."
    if error.errno in _FORBIDDEN:
        return f"The system does not allow it{at} ({reason}). {kept} Choose another place, or change its permissions."
    if error.errno in _MISPLACED:
        return f"A file and a folder are mistaken for each other{at} ({reason}). {kept} Check the path."
    return f"The system refused to read or write{at} ({reason}). {kept} Check the path and the disk."


def byte_count(text: str) -> int:
    """Read a number of bytes such as ``800M`` or ``2.5GiB``; units are powers of 1024.

    Raises:
        argparse.ArgumentTypeError: If it is no such number.

    Example:
        >>> byte_count("2GiB")
        2147483648
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes; write it like 800M or 2GiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def frame_size(text: str) -> int | tuple[int, int] | Literal["native"]:
    """Read a working size: a short side such as ``480``, height and width such as ``256x448``, or ``native``.

    Raises:
        argparse.ArgumentTypeError: If it is no such size.

    Example:
        >>> frame_size("480"), frame_size("256x448")
        (480, (256, 448))
    """
    if text == "native":
        return "native"
    match = re.fullmatch(r"(\d+)(?:\s*[x×]\s*(\d+))?", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 480 or 256x448 (height x width)")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def named_path(text: str) -> tuple[str, Path]:
    """Read a name and a path such as ``proposals=clips/proposals``.

    Raises:
        argparse.ArgumentTypeError: If there is no ``=`` or nothing on one of its sides.

    Example:
        >>> named_path("proposals=some/folder")[0]
        'proposals'
    """
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} names no path; write it like proposals=FOLDER")
    return name, Path(path)


def format_bytes(count: int) -> str:
    """Return a number of bytes for people.

    Example:
        >>> format_bytes(3 * 2**20)
        '3.0 MiB'
        >>> format_bytes(5 * 2**30)
        '5.0 GiB'
    """
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
