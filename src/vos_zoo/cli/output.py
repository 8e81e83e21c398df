"""What the commands share when they read sizes, write and print."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vos_zoo.errors import OutputExistsError
from vos_zoo.files import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "aligned",
    "byte_count",
    "check_new_files",
    "describe_os_error",
    "format_bytes",
    "frame_size",
    "is_full",
    "levels",
    "named_path",
    "object_ids",
    "object_label",
    "print_error",
    "void_value",
]

# EFBIG is the user's own limit on the size of files, and that of some file systems.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def check_new_files(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace files, before any work is done.

    Raises:
        OutputExistsError: If one of the files exists and ``overwrite`` is False.
    """
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise OutputExistsError(f"{path} exists. Choose another name, or replace a file with `--overwrite`.")


def is_full(error: OSError) -> bool:
    """Tell whether there is no room left for a file, on the disk or within the user's limits."""
    return error.errno in _FULL


def describe_os_error(error: OSError, remedy: str) -> str:
    """Say what the system refused.

    Args:
        error: What it raised.
        remedy: What to do once there is room on a full disk, without a full stop.
    """
    where = f" at {error.filename}" if error.filename else ""
    if is_full(error):
        return (
            f"no space is left on the disk{where}. What is finished is kept, nothing half-written remains. Free some "
            f"space; then {remedy}."
        )
    return f"the system refused a file{where}: {error.strerror or error}. Check the path and its rights."


def print_error(program: str, message: str) -> None:
    """Print a message on the error stream; names in it come from files and must do nothing on a terminal.

    Args:
        program: Name of the command.
        message: One line or several.
    """
    shown = "\n".join(map(printable, message.splitlines()))
    print(f"{program}: {shown}", file=sys.stderr)


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


def levels(text: str) -> Literal["clip", "type"] | tuple[float, float]:
    """Read which values become black and white: ``clip``, ``type``, or both values such as ``200:3800``.

    Raises:
        argparse.ArgumentTypeError: If it is no such choice.

    Example:
        >>> levels("200:3800")
        (200.0, 3800.0)
    """
    if text in ("clip", "type"):
        return "clip" if text == "clip" else "type"
    low, colon, high = text.partition(":")
    try:
        if colon and float(low) < float(high):
            return float(low), float(high)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} are no levels; write clip, type, or LOW:HIGH like 200:3800")


def void_value(text: str) -> int | Literal["auto"] | None:
    """Read the value of pixels without an opinion: a number, ``auto`` or ``none``.

    Raises:
        argparse.ArgumentTypeError: If it is no such value.

    Example:
        >>> void_value("255"), void_value("none")
        (255, None)
    """
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no value of mask pixels; write a number such as 255, auto, or none")


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


def object_ids(text: str) -> list[int]:
    """Read ids of objects such as ``1,3``.

    Raises:
        argparse.ArgumentTypeError: If they are no whole numbers above 0.

    Example:
        >>> object_ids("1,3")
        [1, 3]
    """
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*0*[1-9][0-9]*\s*", part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} are no ids of objects; write them like 1,3")
    return [int(part) for part in parts]


def object_label(text: str) -> tuple[int, str]:
    """Read the id of an object and what it is called, such as ``1=bird``.

    Raises:
        argparse.ArgumentTypeError: If there is no id or no name.

    Example:
        >>> object_label("1=bird")
        (1, 'bird')
    """
    number, _, name = text.partition("=")
    if not re.fullmatch(r"0*[1-9][0-9]*", number) or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} names no object; write it like 1=bird")
    return int(number), name.strip()


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table whose columns are as wide as their widest cell.

    Example:
        >>> aligned([("NAME", "J&F"), ("rde.small", "75.0")])
        ['NAME       J&F', 'rde.small  75.0']
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def format_bytes(count: int) -> str:
    """Return a number of bytes for people.

    Example:
        >>> format_bytes(3 * 2**20)
        '3.0 MiB'
        >>> format_bytes(5 * 2**30)
        '5.0 GiB'
    """
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
