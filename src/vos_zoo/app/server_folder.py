"""The temporary folder of a server, and those that killed servers left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vos_zoo.errors import OutputInUseError
from vos_zoo.files import LOCK_FILE, folder_lock

__all__ = ["remove_left_folders", "server_folder"]

_PREFIX = "vos-zoo-app-"


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """Make a temporary folder that is removed when the block ends.

    A server that is killed cannot remove its folder. It held a lock on it, which the system takes back; so the next
    server knows by the lock which folders belong to nobody.

    Yields:
        The folder.
    """
    with contextlib.ExitStack() as held:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            try:
                held.enter_context(folder_lock(folder))
                break
            except (OutputInUseError, FileNotFoundError):
                continue  # a server that started at the same moment took it for one that was left
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def remove_left_folders() -> list[Path]:
    """Remove the folders of servers that were killed.

    Only folders with the name, the lock file and the owner of a server's folder are touched, and only if no process
    holds the lock.

    Returns:
        The folders that were removed.
    """
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not _is_own(folder):
            continue
        with contextlib.suppress(OutputInUseError, OSError), folder_lock(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _is_own(folder: Path) -> bool:
    """Tell whether a server of this user made a folder."""
    try:
        is_mine = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
        return is_mine and folder.is_dir() and not folder.is_symlink() and (folder / LOCK_FILE).is_file()
    except OSError:
        return False
