"""Training clips and whole videos from folders or zip shards in DAVIS layout."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data import motion
from vos_zoo.data.archives import PICTURE_SUFFIXES, FileTree
from vos_zoo.data.clips import LabelledClip
from vos_zoo.data.files import natural_key
from vos_zoo.data.layers import (
    PasteSettings,
    Sprite,
    cut_sprite,
    paste_sprite,
    present_ids,
    random_object_pixel,
    warp_frames,
)
from vos_zoo.data.motion import FrameSize, Image, MotionRange
from vos_zoo.data.static_images import ImageMaskPairs
from vos_zoo.data.transforms import VIDEO_CLIP_COLOUR, VIDEO_FRAME_COLOUR, jitter_clip, jitter_frames
from vos_zoo.errors import DataError


class AnnotatedVideo(NamedTuple):
    """Annotated frames of one video in order; ``frames`` and ``masks`` are file names of equal number."""

    name: str
    frames: tuple[str, ...]
    masks: tuple[str, ...]


class DavisVideos:
    """Videos in DAVIS layout: ``JPEGImages/<resolution>/<video>/*.jpg`` and ``Annotations/<resolution>/<video>/*.png``.

    Decoded frames are kept up to a byte limit, per process; the oldest unused go first.

    Args:
        root: Folder (zip shards with these names inside are accepted) or one zip file.
        resolution: Folder below ``JPEGImages`` and ``Annotations``.
        names: Videos to use, in this order; None means all.
        image_set: List of videos below ``ImageSets``, for example ``2017/train``, used if ``names`` is None.
        min_frames: Shorter videos are left out.
        cache_bytes: Limit of the frame cache in bytes.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If no video is left, or a listed one is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        resolution: str = "480p",
        names: Sequence[str] | None = None,
        image_set: str | None = None,
        min_frames: int = 3,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self._files = FileTree(root)
        pictures: dict[tuple[str, str], str] = {}
        masks: dict[str, list[str]] = {}
        for file in self._files.names():
            path = PurePosixPath(file)
            if path.parts[:-2] == ("JPEGImages", resolution) and path.suffix.lower() in PICTURE_SUFFIXES:
                pictures[path.parts[-2], path.stem] = file
            elif path.parts[:-2] == ("Annotations", resolution) and path.suffix == ".png":
                masks.setdefault(path.parts[-2], []).append(file)
        found = {name: _video(name, files, pictures) for name, files in masks.items()}
        if names is None and image_set is not None:
            names = self._files.read(f"ImageSets/{image_set}.txt").decode().split()
        chosen = sorted(found) if names is None else list(names)
        missing = [name for name in chosen if name not in found or not found[name].frames]
        if names is not None and missing:
            raise DataError(
                f"Videos {missing} have no annotated frames in {str(root)!r}. Expected JPEGImages/"
                f"{resolution}/<video>/*.jpg and Annotations/{resolution}/<video>/*.png. Correct the "
                "list or complete the data."
            )
        self.videos = [found[name] for name in chosen if len(found[name].frames) >= min_frames]
        if not self.videos:
            raise DataError(
                f"Found no video of at least {min_frames} annotated frames in {str(root)!r}. Expected JPEGImages/"
                f"{resolution}/<video>/*.jpg and Annotations/{resolution}/<video>/*.png in the folder or its zip "
                "files. Check the data root and the resolution."
            )
        self._cache: OrderedDict[str, tuple[Image, Image]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self.cached_bytes = 0

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    def read(self, video: int, frame: int) -> tuple[Image, Image]:
        """Return an RGB frame (H, W, 3) and its object ids (H, W), both uint8; not to be written to."""
        entry = self.videos[video]
        name = entry.frames[frame]
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        image = self._files.read_picture(name)
        mask = self._files.read_mask(entry.masks[frame])
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"Frame {name!r} has {image.shape[1]}×{image.shape[0]} pixels and its mask "
                f"{mask.shape[1]}×{mask.shape[0]}. Expected the same size. Mend or remove the frame."
            )
        self._cache[name] = image, mask
        self.cached_bytes += image.nbytes + mask.nbytes
        while self.cached_bytes > self._cache_bytes and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self.cached_bytes -= old[0].nbytes + old[1].nbytes
        return image, mask

    def __getstate__(self) -> dict[str, object]:
        """Leave decoded frames out when the object travels to a worker process."""
        return {**self.__dict__, "_cache": OrderedDict(), "cached_bytes": 0}


@dataclass(frozen=True)
class DavisClips:
    """Clips of a few frames from annotated videos.

    Attributes:
        videos: Where frames come from.
        frame_step: Frames of the filmed video per listed frame; a gap of J filmed frames becomes J // frame_step
            listed ones.
        motion: Movement added to the frames.
        area: Range of the crop's area as share of the frame.
        paste: How a second object is pasted (data sets with one object per video lack occlusions), or None for none.
        pairs: Pictures to cut pasted objects from; without them other videos are used.

    Source: clip sampling, augmentation and object selection of STCN (NeurIPS 2021) and RDE-VOS (CVPR 2022).
    """

    videos: DavisVideos
    frame_step: int = 1
    motion: MotionRange = motion.CHAINED_VIDEO
    area: tuple[float, float] = (0.36, 1.0)
    paste: PasteSettings | None = None
    pairs: ImageMaskPairs | None = None

    def sample(self, rng: np.random.Generator, *, num_frames: int, crop_size: FrameSize, max_gap: int) -> LabelledClip:
        """Draw one clip with at most ``max_gap`` filmed frames between neighbouring ones."""
        video = int(rng.integers(len(self.videos)))
        indices = self._indices(rng, video, num_frames, max_gap)
        frames = [self.videos.read(video, index) for index in indices]
        images, masks = [frame[0] for frame in frames], [frame[1] for frame in frames]
        place = _place_crop(masks[0], self.area, crop_size, rng)
        moves = motion.about_centre(motion.sample_motion(rng, num_frames, self.motion), crop_size)
        warps = motion.sample_warps(rng, num_frames, self.motion)
        clip, labels = warp_frames(images, masks, moves @ place, warps, crop_size, rng)
        if self.paste is not None:
            shares = np.asarray(self.paste.counts)
            for _ in range(int(rng.choice(len(shares), p=shares / shares.sum()))):
                sprite = self._sprite(rng, num_frames, max_gap)
                if sprite is not None:
                    paste_sprite(clip, labels, sprite, int(labels.max()) + 1, self.paste, rng)
        clip = jitter_clip(clip, VIDEO_CLIP_COLOUR, rng)
        clip = jitter_frames(clip, VIDEO_FRAME_COLOUR, rng)
        return LabelledClip(clip, labels, self.videos.videos[video].name)

    def _indices(self, rng: np.random.Generator, video: int, num_frames: int, max_gap: int) -> list[int]:
        total = len(self.videos.videos[video].frames)
        return sample_frame_indices(rng, total, num_frames, max(1, max_gap // self.frame_step))

    def _sprite(self, rng: np.random.Generator, num_frames: int, max_gap: int) -> Sprite | None:
        if self.pairs is not None and rng.random() < 0.5:
            return self.pairs.sprite(rng)
        video = int(rng.integers(len(self.videos)))
        frames = [self.videos.read(video, index) for index in self._indices(rng, video, num_frames, max_gap)]
        ids = present_ids(frames[0][1])
        if len(ids) == 0:
            return None
        label = rng.choice(ids)
        return cut_sprite([frame[0] for frame in frames], [frame[1] == label for frame in frames])


def sample_frame_indices(rng: np.random.Generator, total: int, num_frames: int, max_gap: int) -> list[int]:
    """Draw frames of a clip: gaps uniform in 1 to ``max_gap``, a random start, reversed with probability 0.5.

    If the drawn gaps do not fit, the largest are shortened first; frames are repeated only if the video has fewer
    than asked for.

    Args:
        rng: Source of randomness.
        total: Number of frames of the video.
        num_frames: Frames of the clip.
        max_gap: Largest gap between neighbours.

    Returns:
        Indices in rising or falling order.

    Source: clip sampling of STCN and RDE-VOS, without the steps backwards and avoidable repeats of the released code.

    Example:
        >>> sorted(sample_frame_indices(np.random.default_rng(0), 3, 3, 5))
        [0, 1, 2]
    """
    if total < num_frames:
        indices = np.sort(np.concatenate([np.arange(total), rng.integers(total, size=num_frames - total)]))
    else:
        gaps = rng.integers(1, max_gap + 1, num_frames - 1)
        while gaps.sum() > total - 1:
            gaps[gaps.argmax()] -= 1
        start = int(rng.integers(total - gaps.sum()))
        indices = start + np.concatenate([[0], np.cumsum(gaps)])
    ordered: list[int] = indices.astype(int).tolist()
    return ordered[::-1] if rng.random() < 0.5 else ordered


def _video(name: str, masks: Sequence[str], pictures: dict[tuple[str, str], str]) -> AnnotatedVideo:
    """Pair masks with the frames of the same stem, in natural order; masks without a frame are left out."""
    stems = {PurePosixPath(mask).stem: mask for mask in masks}
    paired = [stem for stem in sorted(stems, key=natural_key) if (name, stem) in pictures]
    return AnnotatedVideo(name, tuple(pictures[name, stem] for stem in paired), tuple(stems[stem] for stem in paired))


def _place_crop(
    mask: NDArray[np.uint8], area: tuple[float, float], size: FrameSize, rng: np.random.Generator
) -> motion.Matrix:
    """Random resized crop that shows some of an object if there is one, flipped with probability 0.5."""
    height, width = mask.shape
    crop_height, crop_width = motion.height_and_width(size)
    pixel = random_object_pixel(mask, rng)
    for _ in range(10):
        share = rng.uniform(*area) * height * width
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))) * (crop_width / crop_height)
        box_width, box_height = np.sqrt(share * aspect), np.sqrt(share / aspect)
        if box_width <= width and box_height <= height:
            break
    else:
        box_width = min(float(width), height * crop_width / crop_height)
        box_height = min(float(height), width * crop_height / crop_width)
    left, top = rng.random() * (width - box_width), rng.random() * (height - box_height)
    if pixel is not None:
        # A crop without any object would be drawn again anyway: move the box just so far that a random object pixel
        # is inside.
        margin = 0.1
        left = np.clip(left, pixel[0] - (1 - margin) * box_width, pixel[0] - margin * box_width)
        top = np.clip(top, pixel[1] - (1 - margin) * box_height, pixel[1] - margin * box_height)
        left, top = np.clip(left, 0, width - box_width), np.clip(top, 0, height - box_height)
    placed = motion.scaling(crop_width / box_width, crop_height / box_height) @ motion.translation(
        -float(left), -float(top)
    )
    if rng.random() < 0.5:
        placed = motion.translation(crop_width - 1, 0) @ motion.scaling(-1, 1) @ placed
    return placed
