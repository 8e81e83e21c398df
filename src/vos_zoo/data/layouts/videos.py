"""Annotated videos: what every layout on disk offers, and decoded frames kept up to a byte limit."""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.layouts.archives import PICTURE_SUFFIXES, FileTree
from vos_zoo.data.layouts.problems import Problem
from vos_zoo.errors import DataError
from vos_zoo.files import natural_key

Image = NDArray[np.uint8]
"""An RGB image (H, W, 3) or a map of ids (H, W)."""


class AnnotatedVideo(NamedTuple):
    """The files of one video, in the order of its frames.

    Attributes:
        name: Name.
        frames: File of every frame.
        masks: File of every frame's mask, or None for frames without one; as many as frames.
        frame_step: Filmed frames from one annotated frame to the next, typically.
        written: Indices of the frames whose masks a submission holds; None means all.
    """

    name: str
    frames: tuple[str, ...]
    masks: tuple[str | None, ...]
    frame_step: int = 1
    written: tuple[int, ...] | None = None

    @property
    def annotated(self) -> list[int]:
        """Indices of the frames that have a mask, rising."""
        return [index for index, mask in enumerate(self.masks) if mask is not None]


class AnnotatedVideos(abc.ABC):
    """Videos with masks for all or some of their frames.

    Decoded frames are kept up to a byte limit, per process; those that were not used for longest go first.

    Args:
        videos: What there is.
        cache_bytes: Limit of the frame cache in bytes.
    """

    def __init__(self, videos: Sequence[AnnotatedVideo], *, cache_bytes: int) -> None:
        self.videos = videos
        self._cache: OrderedDict[tuple[int, int], tuple[Image, Image]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self.cached_bytes = 0

    @abc.abstractmethod
    def read_frame(self, video: int, frame: int) -> Image:
        """Decode one frame: RGB uint8, shape (H, W, 3)."""

    @abc.abstractmethod
    def read_mask(self, video: int, frame: int) -> Image | None:
        """Decode the mask of one frame: object ids uint8, shape (H, W), 0 background; None if it has none."""

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    def iterate(self, video: int, stop: int | None = None) -> Iterator[Image]:
        """Decode the frames of a video one after another, past the cache.

        Args:
            video: Index of the video.
            stop: Number of frames; None means all.
        """
        first: Image | None = None
        for frame in range(len(self.videos[video].frames))[:stop]:
            image = self.read_frame(video, frame)
            first = image if first is None else first
            self._check_frame_size(video, frame, image, 0, first)
            yield image

    def read_checked_mask(self, video: int, frame: int, size: tuple[int, int]) -> Image:
        """Decode the mask of an annotated frame, which must have the size of the frame, (H, W).

        Raises:
            DataError: If there is no mask, it cannot be read, or the sizes differ.
        """
        entry, mask = self.videos[video], self.read_mask(video, frame)
        if mask is None:
            raise DataError(
                f"Frame {entry.frames[frame]!r} of video {entry.name!r} has no mask. Expected an annotated frame."
            )
        if size != mask.shape:
            raise DataError(
                f"Frame {entry.frames[frame]!r} has {_size(size)} pixels and its mask {entry.masks[frame]!r} "
                f"{_size(mask.shape)}. Expected the same size. Mend or remove the frame."
            )
        return mask

    def read(self, video: int, frame: int) -> tuple[Image, Image]:
        """Return an annotated frame (H, W, 3) and its object ids (H, W), both uint8; not to be written to.

        Raises:
            DataError: If a file cannot be read, or the two differ in size.
        """
        key = video, frame
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        image = self.read_frame(video, frame)
        mask = self.read_checked_mask(video, frame, (image.shape[0], image.shape[1]))
        self._cache[key] = image, mask
        self.cached_bytes += image.nbytes + mask.nbytes
        while self.cached_bytes > self._cache_bytes and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self.cached_bytes -= old[0].nbytes + old[1].nbytes
        return image, mask

    def read_clip(self, video: int, frames: Iterable[int]) -> tuple[list[Image], list[Image]]:
        """Return annotated frames of a video and their masks.

        Raises:
            DataError: If a file cannot be read, or sizes differ.
        """
        indices = list(frames)
        pairs = [self.read(video, index) for index in indices]
        for index, (image, _) in zip(indices, pairs, strict=True):
            self._check_frame_size(video, index, image, indices[0], pairs[0][0])
        return [image for image, _ in pairs], [mask for _, mask in pairs]

    def _check_frame_size(self, video: int, frame: int, image: Image, other: int, other_image: Image) -> None:
        if image.shape != other_image.shape:
            names = self.videos[video].frames
            raise DataError(
                f"Frame {names[frame]!r} has {_size(image.shape)} pixels, frame {names[other]!r} of the same video "
                f"{_size(other_image.shape)}. Expected one size per video. Resize or remove the odd ones."
            )

    def __getstate__(self) -> dict[str, object]:
        """Leave decoded frames out when the object travels to a worker process."""
        return {**self.__dict__, "_cache": OrderedDict(), "cached_bytes": 0}


class TreeVideos(AnnotatedVideos):
    """Videos whose frames and masks are files of a folder or of zip files.

    Args:
        files: Where the frames lie.
        videos: What there is.
        masks: Where the masks lie; None means with the frames.
        merges_objects: Whether all objects count as one, as in DAVIS 2016.
        cache_bytes: Limit of the frame cache in bytes.
    """

    def __init__(
        self,
        files: FileTree,
        videos: Sequence[AnnotatedVideo],
        *,
        masks: FileTree | None = None,
        merges_objects: bool = False,
        cache_bytes: int,
    ) -> None:
        super().__init__(videos, cache_bytes=cache_bytes)
        self.files = files
        self.mask_files = files if masks is None else masks
        self._merges_objects = merges_objects

    @property
    def changes_masks(self) -> bool:
        """Whether ids differ from those in the files."""
        return self._merges_objects

    def read_frame(self, video: int, frame: int) -> Image:
        """Decode one frame."""
        return self.files.read_picture(self.videos[video].frames[frame])

    def read_mask(self, video: int, frame: int) -> Image | None:
        """Decode the mask of one frame."""
        name = self.videos[video].masks[frame]
        if name is None:
            return None
        mask = self.mask_files.read_mask(name)
        return np.minimum(mask, 1) if self._merges_objects else mask


def collect_files(files: FileTree, folder: str, suffixes: Sequence[str]) -> dict[str, dict[str, str]]:
    """List the files of every video below a folder.

    Args:
        files: Where to look.
        folder: Folder of the videos' folders, for example ``JPEGImages/480p``.
        suffixes: Endings of the files.

    Returns:
        For each video the file of each frame by its stem, in natural order.
    """
    parent = PurePosixPath(folder)
    found: dict[str, dict[str, str]] = {}
    for name in files.names():
        path = PurePosixPath(name)
        if path.parent.parent == parent and path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(path.parent.name, {})[path.stem] = name
    return {video: dict(sorted(stems.items(), key=lambda item: natural_key(item[0]))) for video, stems in found.items()}


def collect_videos(
    pictures: FileTree, picture_folder: str, masks: FileTree, mask_folder: str
) -> tuple[dict[str, AnnotatedVideo], list[Problem]]:
    """Pair the frames of every video with the masks of the same stem.

    Args:
        pictures: Where the frames lie.
        picture_folder: Folder of the videos' frame folders.
        masks: Where the masks lie.
        mask_folder: Folder of the videos' mask folders.

    Returns:
        The videos by name, and masks or videos that miss their frames.
    """
    frames = collect_files(pictures, picture_folder, PICTURE_SUFFIXES)
    annotations = collect_files(masks, mask_folder, (".png",))
    problems = []
    videos = {}
    for name in sorted(frames.keys() | annotations.keys()):
        own_frames, own_masks = frames.get(name, {}), annotations.get(name, {})
        if not own_frames:
            problems.append(Problem(f"{mask_folder}/{name}", f"has masks but no frames in {picture_folder}/{name}."))
            continue
        if not own_masks:
            problems.append(Problem(f"{picture_folder}/{name}", f"has frames but no masks in {mask_folder}/{name}."))
        strangers = [mask for stem, mask in own_masks.items() if stem not in own_frames]
        problems.extend(Problem(mask, f"has no frame in {picture_folder}/{name}.") for mask in strangers)
        videos[name] = AnnotatedVideo(
            name, tuple(own_frames.values()), tuple(own_masks.get(stem) for stem in own_frames)
        )
    return videos, problems


def choose_videos(
    found: Mapping[str, AnnotatedVideo],
    names: Sequence[str] | None,
    *,
    without: Sequence[str] = (),
    min_frames: int,
    expected: str,
) -> tuple[list[AnnotatedVideo], list[Problem]]:
    """Keep the named videos that have enough annotated frames.

    Args:
        found: What there is.
        names: Videos to use, in this order; None means all.
        without: Videos to leave out of all.
        min_frames: Videos with fewer annotated frames are left out.
        expected: Where frames and masks should lie, for messages.

    Returns:
        The videos, and what stands against them: named videos that are missing, or no video at all.
    """
    wanted = [name for name in sorted(found) if name not in without] if names is None else list(names)
    missing = [name for name in wanted if name not in found or not found[name].annotated]
    if names is not None and missing:
        return [], [Problem("", f"videos {missing} have no annotated frames. Expected {expected}.", is_fatal=True)]
    chosen = [found[name] for name in wanted if len(found[name].annotated) >= min_frames]
    if chosen:
        return chosen, []
    return [], [
        Problem(
            "",
            f"there is no video of at least {min_frames} annotated frames. Expected {expected}. "
            f"Found {len(found)} shorter ones." if found else f"there is no video. Expected {expected}.",
            is_fatal=True,
        )
    ]  # fmt: skip


def frames_without_mask(video: AnnotatedVideo) -> list[Problem]:
    """List the frames that lack a mask in a video that is annotated beyond its first mask."""
    annotated = video.annotated
    if len(annotated) < 2:
        return []  # a test video: the first masks alone are given
    return [
        Problem(frame, "has no mask.") for frame, mask in zip(video.frames, video.masks, strict=True) if mask is None
    ]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"
