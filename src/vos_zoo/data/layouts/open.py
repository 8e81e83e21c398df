"""The layouts that videos come in, recognised by what a root holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.folder import FolderVideos
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.errors import ConfigError


def find_format(root: str | os.PathLike[str]) -> Literal["folder", "youtube-vos", "davis"]:
    """Name the layout of a root: ``folder`` (own videos), ``youtube-vos`` (the folder of a split) or ``davis``."""
    path = Path(root)
    if (path / "videos").is_dir():
        return "folder"
    return "youtube-vos" if (path / "meta.json").is_file() else "davis"


def open_videos(
    root: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    image_set: str | None = None,
    min_frames: int = 2,
    cache_bytes: int = 0,
) -> AnnotatedVideos:
    """Open annotated videos in whatever layout they are.

    Args:
        root: Root of DAVIS or of own videos, or the folder of a split of YouTube-VOS.
        names: Videos to use, in this order; None means all.
        image_set: List of videos below ``ImageSets`` of a DAVIS root.
        min_frames: Videos with fewer annotated frames are left out.
        cache_bytes: Limit of the frame cache in bytes.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If no video is left, or a named one is missing.
        ConfigError: If a list is given for another layout than DAVIS.
    """
    found = find_format(root)
    if found == "davis":
        return DavisVideos(root, names=names, image_set=image_set, min_frames=min_frames, cache_bytes=cache_bytes)
    if image_set is not None:
        raise ConfigError(
            f"The list {image_set!r} was given for {os.fspath(root)!r}, which has the layout {found}. Expected a DAVIS "
            "root; name the videos instead."
        )
    if found == "folder":
        return FolderVideos(root, names=names, min_frames=min_frames, cache_bytes=cache_bytes)
    path = Path(root).absolute()
    return YouTubeVosVideos(path.parent, split=path.name, names=names, min_frames=min_frames, cache_bytes=cache_bytes)
