"""Where this package keeps what it can make again: the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path | None:
    """Return the folder for one kind of files, ``$XDG_CACHE_HOME/vos_zoo/<kind>`` or below ``~/.cache``.

    It may not exist yet. None for a user without a home.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        return None
    return cache / "vos_zoo" / kind
