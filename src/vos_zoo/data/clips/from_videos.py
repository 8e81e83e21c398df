"""Training clips of a few frames from annotated videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.clips import motion
from vos_zoo.data.clips.colour import VIDEO_CLIP_COLOUR, VIDEO_FRAME_COLOUR, ColourRange, jitter_clip, jitter_frames
from vos_zoo.data.clips.compositing import (
    MAX_LABELS,
    PasteSettings,
    Sprite,
    cut_random_sprite,
    cut_sprite,
    paste_sprites,
    present_ids,
    random_object_pixel,
    warp_frames,
)
from vos_zoo.data.clips.dataset import FrameOrigin, LabelledClip
from vos_zoo.data.clips.motion import FrameSize, MotionRange
from vos_zoo.data.layouts.pictures import LabelledPictures
from vos_zoo.data.layouts.videos import AnnotatedVideos


@dataclass(frozen=True)
class VideoClips:
    """Clips of a few annotated frames of a video.

    Attributes:
        videos: Where frames come from.
        frame_step: Filmed frames per frame of the videos, on top of what each video says of itself; a gap of J filmed
            frames becomes J // step annotated ones.
        motion: Movement added to the frames.
        area: Range of the crop's area as share of the frame.
        paste: How a second object is pasted (data sets with one object per video lack occlusions), or None for none.
        pairs: Images to cut pasted objects from; without them other videos are used.
        has_one_gap: Whether all neighbours of a clip are equally far apart, instead of one draw for each.
        reverses: Whether every second clip runs backwards.
        drops_growing: Whether small objects that grow are not targets, a rule for the rendered videos of BL30K.
        still: Share of clips that repeat one frame, so that all movement is added. A few annotated frames lie far
            apart, but neighbours are what a video has.
        frame_colour: How light, colour and sharpness change from frame to frame, on top of what was filmed.

    Source: clip sampling, augmentation and object selection of STCN (NeurIPS 2021) and RDE-VOS (CVPR 2022).
    """

    videos: AnnotatedVideos
    frame_step: int = 1
    motion: MotionRange = motion.CHAINED_VIDEO
    area: tuple[float, float] = (0.36, 1.0)
    paste: PasteSettings | None = None
    pairs: LabelledPictures | None = None
    has_one_gap: bool = False
    reverses: bool = True
    drops_growing: bool = False
    still: float = 0.0
    frame_colour: ColourRange = VIDEO_FRAME_COLOUR

    def sample(
        self,
        rng: np.random.Generator,
        *,
        num_frames: int,
        crop_size: FrameSize,
        max_gap: int,
        max_objects: int = MAX_LABELS,
    ) -> LabelledClip:
        """Draw one clip with at most ``max_gap`` filmed frames between neighbouring ones."""
        video = int(rng.integers(len(self.videos)))
        indices = self._indices(rng, video, num_frames, max_gap)
        images, masks = self.videos.read_clip(video, indices)
        place = _place_crop(masks[0], self.area, crop_size, rng)
        moves = motion.about_centre(motion.sample_motion(rng, num_frames, self.motion), crop_size)
        warps = motion.sample_warps(rng, num_frames, self.motion)
        matrices = moves @ place
        clip, labels = warp_frames(images, masks, matrices, warps, crop_size, rng, max_labels=max_objects)
        if self.drops_growing:
            drop_growing_objects(labels)
        if self.paste is not None:
            paste_sprites(clip, labels, lambda: self._sprite(rng, num_frames, max_gap), self.paste, rng)
        clip = jitter_clip(clip, VIDEO_CLIP_COLOUR, rng)
        clip = jitter_frames(clip, self.frame_colour, rng)
        entry = self.videos.videos[video]
        origins = tuple(
            FrameOrigin(f"{entry.name}/{PurePosixPath(entry.frames[index]).stem}", masks[0].shape, matrix, warp)
            for index, matrix, warp in zip(indices, matrices, warps, strict=True)
        )
        return LabelledClip(clip, labels, entry.name, origins)

    def _indices(self, rng: np.random.Generator, video: int, num_frames: int, max_gap: int) -> list[int]:
        entry = self.videos.videos[video]
        annotated = entry.annotated
        if self.still > 0 and rng.random() < self.still:
            return [annotated[int(rng.integers(len(annotated)))]] * num_frames
        gap = max(1, max_gap // (self.frame_step * entry.frame_step))
        indices = sample_frame_indices(
            rng, len(annotated), num_frames, gap, has_one_gap=self.has_one_gap, reverses=self.reverses
        )
        return [annotated[index] for index in indices]

    def _sprite(self, rng: np.random.Generator, num_frames: int, max_gap: int) -> Sprite | None:
        if self.pairs is not None and rng.random() < 0.5:
            return cut_random_sprite(self.pairs, rng)
        video = int(rng.integers(len(self.videos)))
        images, masks = self.videos.read_clip(video, self._indices(rng, video, num_frames, max_gap))
        ids = present_ids(masks[0])
        if len(ids) == 0:
            return None
        label = rng.choice(ids)
        return cut_sprite(images, [mask == label for mask in masks])


def sample_frame_indices(
    rng: np.random.Generator,
    total: int,
    num_frames: int,
    max_gap: int,
    *,
    has_one_gap: bool = False,
    reverses: bool = True,
) -> list[int]:
    """Draw frames of a clip: gaps uniform in 1 to ``max_gap``, a random start, reversed with probability 0.5.

    If the drawn gaps do not fit, the largest are shortened first; frames are repeated only if the video has fewer
    than asked for.

    Args:
        rng: Source of randomness.
        total: Number of frames of the video.
        num_frames: Frames of the clip.
        max_gap: Largest gap between neighbours.
        has_one_gap: Whether one gap is drawn for all neighbours.
        reverses: Whether clips may be reversed.

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
        gaps = rng.integers(1, max_gap + 1, min(num_frames - 1, 1) if has_one_gap else num_frames - 1)
        gaps = np.repeat(gaps, num_frames - 1) if has_one_gap else gaps
        while gaps.sum() > total - 1:
            gaps[slice(None) if has_one_gap else gaps.argmax()] -= 1
        start = int(rng.integers(total - gaps.sum()))
        indices = start + np.concatenate([[0], np.cumsum(gaps)])
    ordered: list[int] = indices.astype(int).tolist()
    return ordered[::-1] if reverses and rng.random() < 0.5 else ordered


def drop_growing_objects(labels: NDArray[np.uint8]) -> None:
    """Make background of objects that are tiny in frame 0, or small there and larger in the next two, in place.

    Args:
        labels: Object ids, shape (T, H, W).

    Source: object selection for BL30K of STCN and RDE-VOS: more than 100 pixels in frame 0, and more than 900 there or
        fewer than 400 in both of the next two frames (at 384×384).
    """
    areas = np.stack([np.bincount(frame.ravel(), minlength=256) for frame in labels[:3]])
    is_kept = (areas[0] > 100) & ((areas[0] > 900) | (areas[1:] < 400).all(axis=0))
    table = np.where(is_kept, np.arange(256), 0).astype(np.uint8)
    labels[:] = table[labels]


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
