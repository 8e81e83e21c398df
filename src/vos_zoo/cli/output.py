"""What the commands share when they read sizes, write and print."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.errors import OutputExistsError
from vos_zoo.files import is_full, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "aligned",
    "check_new_files",
    "describe_os_error",
    "format_bytes",
    "is_full",
    "named_path",
    "print_error",
]


def check_new_files(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace files, before any work is done.

    Raises:
        OutputExistsError: If one of the files exists and ``overwrite`` is False.
    """
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise OutputExistsError(f"{path} exists. Choose another name, or replace a file with `--overwrite`.")


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
    if not where:
        return f"the system refused something: {error.strerror or error}. What is finished is kept; then {remedy}."
    return f"the system refused a file{where}: {error.strerror or error}. Check the path and its rights."


def print_error(program: str, message: str) -> None:
    """Print a message on the error stream; names in it come from files and must do nothing on a terminal.

    Args:
        program: Name of the command.
        message: One line or several.
    """
    shown = "\n".join(map(printable, message.splitlines()))
    print(f"{program}: {shown}", file=sys.stderr)


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
