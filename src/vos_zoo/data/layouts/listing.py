"""The videos of a data root by name, the longest first, listed without listing their files."""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.davis import DavisVideos, read_image_set
from vos_zoo.data.layouts.folder import FolderVideos, masks_of, video_files
from vos_zoo.data.layouts.problems import refuse_fatal
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.layouts.youtube_vos import Objects, YouTubeVosVideos, read_meta

_BYTES_PER_FRAME = 20_000  # of a film at the sizes of these data sets; only orders files among folders of frames


class ListedVideo(NamedTuple):
    """One video of a root.

    Attributes:
        name: Its name.
        place: File or folder of its frames.
        length: Frames, roughly; what orders the videos.
    """

    name: str
    place: str
    length: int


class OpenedVideo(NamedTuple):
    """A video among opened ones.

    Attributes:
        videos: The opened videos.
        number: Which of them it is, from 0.
    """

    videos: AnnotatedVideos
    number: int


class VideoListing(abc.ABC):
    """The videos of a root: names first, the files of a video when it is opened.

    A root may hold a hundred thousand videos, of which each process needs a few at a time.
    """

    @abc.abstractmethod
    def videos(self) -> list[ListedVideo]:
        """List the videos, the longest first; empty if there is none, or if one that should be there is missing.

        Raises:
            DataError: If what names the videos cannot be read.
        """

    @abc.abstractmethod
    def open(self, video: ListedVideo) -> OpenedVideo:
        """List the files of one video.

        Raises:
            DataError: If frames or masks are missing.
        """


class OpenedListing(VideoListing):
    """The listing of videos that are open already, such as those of zip shards.

    Args:
        opened: The videos.
    """

    def __init__(self, opened: AnnotatedVideos) -> None:
        self._opened = opened
        self._index = {video.name: index for index, video in enumerate(opened.videos)}

    def videos(self) -> list[ListedVideo]:
        """List the videos, the longest first."""
        return _longest_first(ListedVideo(video.name, "", len(video.frames)) for video in self._opened.videos)

    def open(self, video: ListedVideo) -> OpenedVideo:
        """Find the video among the opened ones."""
        return OpenedVideo(self._opened, self._index[video.name])


class DavisListing(VideoListing):
    """Videos in DAVIS layout, as plain folders.

    Args:
        root: As for :class:`~vos_zoo.data.layouts.davis.DavisVideos`, like the others.
        resolution: Folder below ``JPEGImages`` and ``Annotations``.
        names: Videos to use; None means all.
        image_set: List of videos, used if ``names`` is None.
    """

    def __init__(
        self, root: Path, *, resolution: str = "480p", names: Sequence[str] | None = None, image_set: str | None = None
    ) -> None:
        self._root = root
        self._resolution = resolution
        self._names = names
        self._image_set = image_set

    def videos(self) -> list[ListedVideo]:
        """List the videos, the longest first."""
        names = self._names
        if names is None and self._image_set is not None:
            files = FileTree(self._root, folders=["ImageSets"])
            names = read_image_set(files, self._image_set) if f"ImageSets/{self._image_set}.txt" in files else []
        return _listed_folders(
            self._root / "JPEGImages" / self._resolution, self._root / "Annotations" / self._resolution, names
        )

    def open(self, video: ListedVideo) -> OpenedVideo:
        """List the files of one video."""
        folders = [f"{kind}/{self._resolution}/{video.name}" for kind in ("JPEGImages", "Annotations")]
        files = FileTree(self._root, folders=folders)
        return OpenedVideo(
            DavisVideos(
                self._root, resolution=self._resolution, names=[video.name], min_frames=1, cache_bytes=0, files=files
            ),
            0,
        )


class YouTubeVosListing(VideoListing):
    """Videos of a split of YouTube-VOS, as plain folders.

    Args:
        split: Folder of the split.
        all_frames: Whether all filmed frames are used.
        names: Videos to use; None means all of ``meta.json``.
    """

    def __init__(self, split: Path, *, all_frames: bool = False, names: Sequence[str] | None = None) -> None:
        self._split = split
        self._dense = split.with_name(f"{split.name}_all_frames") if all_frames else None
        self._names = names

    def videos(self) -> list[ListedVideo]:
        """List the videos, the longest first; every video of ``meta.json`` must have its frames."""
        frames, known = self._split / "JPEGImages", self._objects.keys()
        if any(not (frames / name).is_dir() for name in known):
            return []
        found = _listed_folders((self._dense or self._split) / "JPEGImages", self._split / "Annotations", self._names)
        return [video for video in found if video.name in known]

    def open(self, video: ListedVideo) -> OpenedVideo:
        """List the files of one video."""
        name, dense = video.name, self._dense
        videos = YouTubeVosVideos(
            self._split.parent,
            split=self._split.name,
            all_frames=dense is not None,
            names=[name],
            min_frames=1,
            cache_bytes=0,
            files=FileTree(self._split, folders=[f"JPEGImages/{name}", f"Annotations/{name}"]),
            all_files=None if dense is None else FileTree(dense, folders=[f"JPEGImages/{name}"]),
            objects={name: self._objects[name]},
        )
        return OpenedVideo(videos, 0)

    @cached_property
    def _objects(self) -> Mapping[str, Objects]:
        objects, problems = read_meta(FileTree(self._split, folders=[]))
        refuse_fatal(self._split, problems, "youtube-vos")
        return objects


class FolderListing(VideoListing):
    """Own videos in ``videos/``, with masks in ``masks/``.

    Args:
        root: Folder that holds both.
        names: Videos to use; None means all that have masks.
    """

    def __init__(self, root: Path, *, names: Sequence[str] | None = None) -> None:
        self._root = root
        self._names = names

    def videos(self) -> list[ListedVideo]:
        """List the videos, the longest first."""
        files = video_files(self._root)
        if self._names is not None and not all(name in files for name in self._names):
            return []
        names = files if self._names is None else self._names
        return _longest_first(
            ListedVideo(name, str(files[name]), _rough_length(files[name]))
            for name in names
            if masks_of(self._root, name).exists()
        )

    def open(self, video: ListedVideo) -> OpenedVideo:
        """Count the frames of one video and find its masks."""
        files = {video.name: Path(video.place)}
        return OpenedVideo(FolderVideos(self._root, names=[video.name], min_frames=1, cache_bytes=0, files=files), 0)


def has_shards(root: Path) -> bool:
    """Tell whether some of a root's files lie in zip shards, whose lists of members have to be read as a whole."""
    return root.is_file() or any(root.glob("*.zip"))


def _listed_folders(frames: Path, masks: Path, names: Sequence[str] | None) -> list[ListedVideo]:
    """List the folders that frames and masks share; empty if a named one is missing."""
    found = {folder.name for folder in _folders(frames)} & {folder.name for folder in _folders(masks)}
    if names is not None and not all(name in found for name in names):
        return []
    return _longest_first(
        ListedVideo(name, str(frames / name), _rough_length(frames / name))
        for name in (sorted(found) if names is None else dict.fromkeys(names))
    )


def _folders(parent: Path) -> Iterable[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(parent) as entries:
        yield from (entry for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _rough_length(place: Path) -> int:
    """Count the files of a folder, or guess the frames of a file, without opening it."""
    try:
        return len(os.listdir(place))  # noqa: PTH208  # names alone, for a hundred thousand folders
    except NotADirectoryError:
        return max(1, place.stat().st_size // _BYTES_PER_FRAME)


def _longest_first(videos: Iterable[ListedVideo]) -> list[ListedVideo]:
    return sorted(videos, key=lambda video: -video.length)
