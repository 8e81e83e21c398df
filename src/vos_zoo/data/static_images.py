"""Training clips synthesised from single pictures with masks."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from vos_zoo.data import motion
from vos_zoo.data.archives import FileTree
from vos_zoo.data.clips import LabelledClip
from vos_zoo.data.layers import (
    DEFAULT_PASTE,
    PasteSettings,
    Sprite,
    cut_sprite,
    paste_sprite,
    present_ids,
    random_object_pixel,
    warp_frames,
)
from vos_zoo.data.motion import FrameSize, Image, MotionRange
from vos_zoo.data.transforms import STATIC_CLIP_COLOUR, STATIC_FRAME_COLOUR, jitter_clip, jitter_frames
from vos_zoo.errors import DataError

_PICTURES = (".jpg", ".jpeg")


class ImageMaskPairs:
    """Pictures with masks of the same name: ``NAME.jpg`` beside ``NAME.png``, in folders or zip shards.

    An ``index.csv`` with a column ``key`` limits the pairs and, with a column ``source``, lets some be chosen by
    origin.

    Args:
        root: Folder that holds the pairs, sub-folders and zip shards included.
        sources: Keep only pairs of these sources (the ``source`` column, or the first folder of the name); None keeps
            all.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If no pair is left.
    """

    def __init__(self, root: str | os.PathLike[str], *, sources: Sequence[str] | None = None) -> None:
        self._files = FileTree(root)
        names = self._files.names()
        pictures = {
            str(PurePosixPath(name).with_suffix("")): name for name in names if name.lower().endswith(_PICTURES)
        }
        listed = self._listed()
        keys = [
            key for key in (pictures if listed is None else listed) if key in pictures and f"{key}.png" in self._files
        ]
        if sources is not None:
            keys = [key for key in keys if (listed or {}).get(key, key.split("/")[0]) in sources]
        if not keys:
            raise DataError(
                f"Found no picture with a mask in {str(Path(root))!r}"
                f"{'' if sources is None else f' from the sources {list(sources)}'} ({len(pictures)} JPEG "
                f"pictures). Expected "
                "NAME.jpg beside NAME.png in folders or zip files. Check the data root."
            )
        self.keys = sorted(keys)
        self._pictures = pictures

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.keys)

    def read(self, index: int) -> tuple[Image, Image]:
        """Return the RGB picture (H, W, 3) and its object ids (H, W), both uint8."""
        key = self.keys[index]
        image = self._files.read_picture(self._pictures[key])
        mask = self._files.read_mask(f"{key}.png")
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"Pair {key!r} has a picture of {image.shape[1]}×{image.shape[0]} and a mask of {mask.shape[1]}×"
                f"{mask.shape[0]} pixels. Expected the same size. Mend or remove the pair."
            )
        return image, mask

    def sprite(self, rng: np.random.Generator) -> Sprite | None:
        """Cut one random object out of a random picture; None if it is too small to be pasted."""
        image, mask = self.read(int(rng.integers(len(self))))
        ids = present_ids(mask)
        if len(ids) == 0:
            return None
        return cut_sprite([image], [mask == rng.choice(ids)])

    def _listed(self) -> dict[str, str] | None:
        if "index.csv" not in self._files:
            return None
        rows = csv.DictReader(io.StringIO(self._files.read("index.csv").decode()))
        return {row["key"]: row.get("source") or row["key"].split("/")[0] for row in rows if row.get("key")}


@dataclass(frozen=True)
class StaticImageClips:
    """Clips from pairs: the picture moves as a whole, cut-out objects of other pairs move over it.

    Attributes:
        pairs: Pictures and masks.
        motion: Movement of the picture.
        zoom: Range of the clip's scale; at 1 the picture just covers the crop.
        paste: Pasted objects, or None for none.

    Source: synthetic clips of STM (ICCV 2019), augmentation of STCN and RDE-VOS; pasted objects are our addition,
    since a picture that moves as a whole shows neither occlusion nor objects that move against each other.
    """

    pairs: ImageMaskPairs
    motion: MotionRange = motion.CHAINED_STATIC
    zoom: tuple[float, float] = (0.8, 1.5)
    paste: PasteSettings | None = DEFAULT_PASTE

    def sample(self, rng: np.random.Generator, *, num_frames: int, crop_size: FrameSize, max_gap: int) -> LabelledClip:
        """Draw one clip; ``max_gap`` has no meaning for pictures."""
        index = int(rng.integers(len(self.pairs)))
        image, mask = self.pairs.read(index)
        place = _place_picture(mask, self.zoom, crop_size, rng)
        moves = motion.about_centre(motion.sample_motion(rng, num_frames, self.motion), crop_size)
        warps = motion.sample_warps(rng, num_frames, self.motion)
        images, labels = warp_frames([image], [mask], moves @ place, warps, crop_size, rng)
        if self.paste is not None:
            shares = np.asarray(self.paste.counts)
            for _ in range(int(rng.choice(len(shares), p=shares / shares.sum()))):
                sprite = self.pairs.sprite(rng)
                if sprite is not None:
                    paste_sprite(images, labels, sprite, int(labels.max()) + 1, self.paste, rng)
        images = jitter_clip(images, STATIC_CLIP_COLOUR, rng)
        images = jitter_frames(images, STATIC_FRAME_COLOUR, rng)
        return LabelledClip(images, labels, self.pairs.keys[index])


def _place_picture(mask: Image, zoom: tuple[float, float], size: FrameSize, rng: np.random.Generator) -> motion.Matrix:
    """Scale, flip and shift the picture so that the crop shows an object, and no border if that is possible."""
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
