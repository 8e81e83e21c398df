"""Training clips synthesised from single images with masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from vos_zoo.data.clips import motion
from vos_zoo.data.clips.colour import STATIC_CLIP_COLOUR, STATIC_FRAME_COLOUR, ColourRange, jitter_clip, jitter_frames
from vos_zoo.data.clips.compositing import (
    DEFAULT_PASTE,
    MAX_LABELS,
    PasteSettings,
    cut_random_sprite,
    paste_sprites,
    random_object_pixel,
    warp_frames,
)
from vos_zoo.data.clips.dataset import FrameOrigin, LabelledClip
from vos_zoo.data.clips.motion import FrameSize, MotionRange
from vos_zoo.data.layouts.archives import PICTURE_SUFFIXES
from vos_zoo.data.layouts.pictures import LabelledPictures
from vos_zoo.data.layouts.videos import Image


@dataclass(frozen=True)
class StaticImageClips:
    """Clips from pairs: the image moves as a whole, cut-out objects of other pairs move over it.

    Attributes:
        pairs: Images and masks.
        motion: Movement of the image.
        zoom: Range of the clip's scale; at 1 the image just covers the crop.
        paste: Pasted objects, or None for none.
        frame_colour: How light, colour and sharpness change from frame to frame.

    Source: synthetic clips of STM (ICCV 2019), augmentation of STCN and RDE-VOS; pasted objects are our addition,
    since an image that moves as a whole shows neither occlusion nor objects that move against each other.
    """

    pairs: LabelledPictures
    motion: MotionRange = motion.CHAINED_STATIC
    zoom: tuple[float, float] = (0.8, 1.5)
    paste: PasteSettings | None = DEFAULT_PASTE
    frame_colour: ColourRange = STATIC_FRAME_COLOUR

    def sample(
        self,
        rng: np.random.Generator,
        *,
        num_frames: int,
        crop_size: FrameSize,
        max_gap: int,
        max_objects: int = MAX_LABELS,
    ) -> LabelledClip:
        """Draw one clip; ``max_gap`` has no meaning for images."""
        index = int(rng.integers(len(self.pairs)))
        image, mask = self.pairs.read(index)
        place = _place_picture(mask, self.zoom, crop_size, rng)
        moves = motion.about_centre(motion.sample_motion(rng, num_frames, self.motion), crop_size)
        warps = motion.sample_warps(rng, num_frames, self.motion)
        matrices = moves @ place
        images, labels = warp_frames([image], [mask], matrices, warps, crop_size, rng, max_labels=max_objects)
        if self.paste is not None:
            paste_sprites(images, labels, lambda: cut_random_sprite(self.pairs, rng), self.paste, rng)
        images = jitter_clip(images, STATIC_CLIP_COLOUR, rng)
        images = jitter_frames(images, self.frame_colour, rng)
        key = self.pairs.keys[index]
        name = str(PurePosixPath(key).with_suffix("")) if key.lower().endswith(PICTURE_SUFFIXES) else key
        origins = (FrameOrigin(name, mask.shape, matrix, warp) for matrix, warp in zip(matrices, warps, strict=True))
        return LabelledClip(images, labels, key, tuple(origins))


def _place_picture(mask: Image, zoom: tuple[float, float], size: FrameSize, rng: np.random.Generator) -> motion.Matrix:
    """Scale, flip and shift the image so that the crop shows an object, and no border if that is possible."""
    height, width = mask.shape
    crop_height, crop_width = motion.height_and_width(size)
    crop = np.array([crop_width, crop_height])
    factor = rng.uniform(*zoom)
    scale = max(factor * crop_height / height, factor * crop_width / width)
    flip = -1 if rng.random() < 0.5 else 1
    focus = random_object_pixel(mask, rng)
    if focus is None:
        focus = rng.random(2) * [width, height]
    corner = focus * scale - rng.uniform(0.25, 0.75, 2) * crop
    room = np.array([width, height]) * scale - crop
    corner = np.where(room > 0, np.clip(corner, 0, np.maximum(room, 0)), room * rng.random(2))
    placed = motion.translation(-corner[0], -corner[1]) @ motion.scaling(scale, scale)
    if flip < 0:
        placed = motion.translation(crop_width - 1, 0) @ motion.scaling(-1, 1) @ placed
    return placed
