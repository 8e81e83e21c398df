"""Videos in the layout of DAVIS 2016 and 2017, as folders or zip shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePosixPath

from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.problems import Problem, refuse_fatal
from vos_zoo.data.layouts.videos import AnnotatedVideo, TreeVideos, choose_videos, collect_videos, frames_without_mask


class DavisVideos(TreeVideos):
    """Videos in DAVIS layout: ``JPEGImages/<resolution>/<video>/*.jpg`` and ``Annotations/<resolution>/<video>/*.png``.

    Args:
        root: Folder (zip shards with these names inside are accepted) or one zip file.
        resolution: Folder below ``JPEGImages`` and ``Annotations``: ``480p`` or ``Full-Resolution``.
        names: Videos to use, in this order; None means all.
        image_set: List of videos below ``ImageSets``, for example ``2017/train``, used if ``names`` is None.
        merges_objects: Whether all objects of a video count as one, as in DAVIS 2016.
        min_frames: Videos with fewer annotated frames are left out.
        cache_bytes: Limit of the frame cache in bytes.
        files: The files of ``root``, or those of the named videos; None lists all of them.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If no video is left, or a list or a listed video is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        resolution: str = "480p",
        names: Sequence[str] | None = None,
        image_set: str | None = None,
        merges_objects: bool = False,
        min_frames: int = 3,
        cache_bytes: int = 512 * 2**20,
        files: FileTree | None = None,
    ) -> None:
        files = FileTree(root) if files is None else files
        videos, problems = davis_videos(
            files, resolution=resolution, names=names, image_set=image_set, min_frames=min_frames
        )
        refuse_fatal(root, problems, "davis")
        super().__init__(files, videos, merges_objects=merges_objects, cache_bytes=cache_bytes)


def davis_videos(
    files: FileTree,
    *,
    resolution: str = "480p",
    names: Sequence[str] | None = None,
    image_set: str | None = None,
    min_frames: int = 1,
) -> tuple[list[AnnotatedVideo], list[Problem]]:
    """List the videos of a DAVIS root and what is wrong with it; arguments as for :class:`DavisVideos`."""
    found, problems = collect_videos(files, f"JPEGImages/{resolution}", files, f"Annotations/{resolution}")
    for video in found.values():
        problems += frames_without_mask(video)
    if names is None and image_set is not None:
        listing = f"ImageSets/{image_set}.txt"
        if listing not in files:
            lists = ", ".join(image_sets(files)) or "none"
            text = f"list {listing!r} is missing. Expected the names of its videos there. Lists found: {lists}."
            return [], [*problems, Problem("", text, is_fatal=True)]
        names = read_image_set(files, image_set)
    expected = f"JPEGImages/{resolution}/<video>/*.jpg and Annotations/{resolution}/<video>/*.png"
    chosen, obstacles = choose_videos(found, names, min_frames=min_frames, expected=expected + _nearby(files))
    return chosen, problems + obstacles


def image_sets(files: FileTree) -> list[str]:
    """Names of the lists of videos below ``ImageSets``, for example ``2017/train``."""
    return [
        name.removeprefix("ImageSets/").removesuffix(".txt")
        for name in files.names()
        if name.startswith("ImageSets/") and name.endswith(".txt")
    ]


def read_image_set(files: FileTree, image_set: str) -> list[str]:
    """Names of the videos in a list, each once.

    The lists of the DAVIS 2016 archive name files ("/JPEGImages/480p/bear/00000.jpg /Annotations/…") instead of videos.
    """
    lines = files.read(f"ImageSets/{image_set}.txt").decode().split("\n")
    words = [line.split()[0] for line in lines if line.strip()]
    return list(dict.fromkeys(PurePosixPath(word).parent.name if "/" in word else word for word in words))


def _nearby(files: FileTree) -> str:
    """Say where ``JPEGImages`` lies, if not at the top or without this resolution."""
    places = sorted({name.partition("JPEGImages/")[0] for name in files.names() if "JPEGImages/" in name})
    if not places:
        return ""
    if places[0]:
        return f" (JPEGImages lies in {places[0]!r}; give that folder)"
    found = {PurePosixPath(name).parts[1] for name in files.names() if name.startswith("JPEGImages/")}
    return f" (folders in JPEGImages: {', '.join(sorted(found)[:5])})"
