"""What the commands share when they write and print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.errors import OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check_new_files", "format_bytes"]


def check_new_files(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace files, before any work is done.

    Raises:
        OutputExistsError: If one of the files exists and ``overwrite`` is False.
    """
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise OutputExistsError(f"{path} exists. Choose another name, or replace a file with `--overwrite`.")


def format_bytes(count: int) -> str:
    """Return a number of bytes for people.

    Example:
        >>> format_bytes(3 * 2**20)
        '3.0 MiB'
        >>> format_bytes(5 * 2**30)
        '5.0 GiB'
    """
    if count < 2**30:
        return f"{count / 2**20:.1f} MiB"
    return f"{count / 2**30:.1f} GiB"
