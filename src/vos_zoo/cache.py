"""Where this package keeps what it can make again: the user's cache folder."""

from __future__ import annotations

import logging
import os
import stat
from functools import cache
from pathlib import Path

_logger = logging.getLogger(__name__)


def cache_folder(kind: str) -> Path | None:
    """Return the folder for one kind of files, ``$XDG_CACHE_HOME/vos_zoo/<kind>`` or below ``~/.cache``.

    It may not exist yet. None for a user without a home. A relative ``XDG_CACHE_HOME`` is ignored, as the specification
    asks: it would mean another folder in every working directory, which may be somebody else's.

    Source: XDG Base Directory Specification 0.8, "Basics".
    """
    try:
        named = Path(os.environ.get("XDG_CACHE_HOME", "")).expanduser()
        home = named if named.is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError:
        return None
    return home / "vos_zoo" / kind


def private_cache_folder(kind: str) -> Path | None:
    """Return the folder for one kind of files, made if it does not exist, if nobody else can have put anything there.

    Folders that are missing on the way are made for this user alone, whatever the umask. None if there is no home, if
    the folder cannot be made, or if it or ``vos_zoo`` above it is not private (see :func:`is_private`), which is
    logged.
    """
    folder = cache_folder(kind)
    if folder is None:
        return None
    try:
        for part in (*reversed(folder.parents), folder):
            _make_private(part)
    except OSError as error:  # a read-only home, a full disk
        _logger.debug("No cache in %s: %s", folder, error)
        return None
    for part in (folder.parent, folder):
        if not is_private(part):
            _warn_once(part)
            return None
    return folder


def is_private(path: Path) -> bool:
    """Tell whether a file or folder is this user's own, writable for nobody else, and no link.

    Where files have no such owner (Windows), every file and folder that is not a link counts as private.
    """
    try:
        found = path.lstat()
    except OSError:
        return False
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return False
    return not hasattr(os, "geteuid") or (found.st_uid == os.geteuid() and not found.st_mode & 0o022)


def _make_private(folder: Path) -> None:
    if folder.is_dir():
        return
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # another process was faster, or it is something else, which is told from a private one
        return
    folder.chmod(0o700)  # a strict umask takes rights from the user as well


@cache
def _warn_once(folder: Path) -> None:
    _logger.warning(
        "%s is not used as a cache: it belongs to another user, others may write to it, or it is a link. Make it your "
        "own (`chmod go-w`), or let XDG_CACHE_HOME name a folder of yours.",
        folder,
    )
