"""Checksums of weight files, computed once and remembered.

What was computed is noted in the user's cache folder, one small file per weight file, and holds as long as path, size
and times of the weight file stay the same. Nothing is ever written beside the weights, which may lie in a read-only
place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from pathlib import Path

from vos_zoo.cache import private_cache_folder
from vos_zoo.files import atomic_path, parse_json

__all__ = ["file_sha256", "remembered_sha256"]

_BLOCK_BYTES = 2**20
# A file that changes again within the resolution of its time stamp looks unchanged; so a young file is not remembered.
_SETTLED_SECONDS = 2.0

_logger = logging.getLogger(__name__)


def file_sha256(path: str | Path) -> str:
    """Compute the checksum of a file, hexadecimal, without holding the file in memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def remembered_sha256(path: str | Path) -> str:
    """Return the checksum of a file, computed only if the file is new or changed since the last time.

    Args:
        path: An existing file.

    Returns:
        64 hexadecimal digits.
    """
    path = Path(path).resolve()
    state = _state(path)
    note = _note_path(path)
    known = _read_note(note, state)
    if known is not None:
        return known
    digest = file_sha256(path)
    if _state(path) == state and time.time() - path.stat().st_mtime > _SETTLED_SECONDS:
        _write_note(note, state | {"sha256": digest})
    return digest


def _state(path: Path) -> dict[str, str | int]:
    found = path.stat()
    return {
        "path": str(path),
        "num_bytes": found.st_size,
        "modified": found.st_mtime_ns,
        # Unlike the time of modification this one cannot be set back, so that a swapped file shows.
        "changed": found.st_ctime_ns,
    }


def _note_path(path: Path) -> Path | None:
    """Return where the checksum of a file is noted; None if there is no place of this user alone."""
    folder = private_cache_folder("checksums")
    return None if folder is None else folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"


def _read_note(note: Path | None, state: dict[str, str | int]) -> str | None:
    if note is None:
        return None
    try:
        known = parse_json(note.read_text(encoding="utf-8"))
        digest = known.pop("sha256")
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # no note, or one that is not a note of ours
        return None
    return digest if known == state and isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) else None


def _write_note(note: Path | None, content: dict[str, str | int]) -> None:
    if note is None:
        return
    try:
        with atomic_path(note) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:  # a read-only home or a full disk: the checksum is computed again the next time
        _logger.debug("Could not note a checksum in %s: %s", note, error)
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
