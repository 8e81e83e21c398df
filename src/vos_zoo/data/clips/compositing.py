"""Layers of a synthetic clip: a moving background image and cut-out objects pasted over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.configs import check_type
from vos_zoo.data.clips import motion
from vos_zoo.data.clips.motion import CHAINED_SPRITE, FrameSize, Matrix, MotionRange
from vos_zoo.data.layouts.pictures import LabelledPictures
from vos_zoo.data.layouts.videos import Image
from vos_zoo.errors import ConfigError

MAX_LABELS = 3  # object ids followed per layer, if a clip does not hold more
_MERGED = 3  # masks warped at once; one OpenCV warp carries at most four channels, and needs a copy for four


@dataclass(frozen=True)
class Sprite:
    """An object cut out of an image or a video.

    Attributes:
        images: RGB frames cropped to the object, one frame or one per clip frame, all of the same shape.
        mattes: Masks 0/255 of the same lengths and shapes.
    """

    images: Sequence[Image]
    mattes: Sequence[Image]


@dataclass(frozen=True)
class PasteSettings:
    """How sprites are pasted.

    Attributes:
        counts: Probabilities of pasting 0, 1, 2 … sprites.
        size: Range of the longer side of a sprite as share of the frame's shorter side.
        motion: Movement of a sprite, on top of nothing: the camera does not carry it.
        twins: Chance that a sprite is pasted once more as another object, which looks like the first one.
        hidden: Chance that a sprite is away in some frames between the first and the last one.
    """

    counts: tuple[float, ...] = (0.4, 0.45, 0.15)
    size: tuple[float, float] = (0.2, 0.7)
    motion: MotionRange = CHAINED_SPRITE
    twins: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        """Check the chances and the motion."""
        check_type("motion of PasteSettings", self.motion, MotionRange)
        if not (0 <= self.twins <= 1 and 0 <= self.hidden <= 1):
            raise ConfigError(f"Pasting has twins {self.twins} and hidden {self.hidden}. Expected chances from 0 to 1.")


DEFAULT_PASTE = PasteSettings()


def warp_frames(
    images: Sequence[Image],
    labels: Sequence[Image],
    matrices: Matrix,
    warps: Sequence[Matrix | None],
    size: FrameSize,
    rng: np.random.Generator,
    *,
    max_labels: int = MAX_LABELS,
) -> tuple[Image, Image]:
    """Warp frames and label maps by the same maps.

    Labels are interpolated as one plane per id (a random choice if there are too many), so that outlines stay
    smooth when a small image is enlarged. Beyond the border both are mirrored.

    Args:
        images: RGB frames; a single one is used for every matrix.
        labels: Label maps in the same number.
        matrices: Forward matrices, shape (T, 3, 3).
        warps: Thin-plate displacement per frame or None.
        size: Size of the output.
        rng: Source of randomness.
        max_labels: Ids that are followed; at least three are.

    Returns:
        Images (T, H, W, 3) and labels (T, H, W) of that size, ids from 1 on in random order.
    """
    frames, (height, width) = len(matrices), motion.height_and_width(size)
    ids = rng.permutation(present_ids(labels[0]))[: max(max_labels, MAX_LABELS)]
    out_images = np.empty((frames, height, width, 3), np.uint8)
    out_labels = np.zeros((frames, height, width), np.uint8)
    planes = _planes(labels[0], ids)
    for index in range(frames):
        which = min(index, len(images) - 1)
        if which > 0:
            planes = _planes(labels[which], ids)
        out_images[index] = motion.warp(images[which], matrices[index], size, warps[index])
        for number, merged in enumerate(planes):
            warped = motion.warp(merged, matrices[index], size, warps[index])
            for label, plane in enumerate(cv2.split(warped), start=1 + number * _MERGED):
                out_labels[index][plane > 127] = label
    return out_images, out_labels


def cut_sprite(images: Sequence[Image], mattes: Sequence[NDArray[np.bool_]]) -> Sprite | None:
    """Cut an object out of frames by the box that holds it in all of them; None if it is nowhere or tiny.

    Args:
        images: RGB frames of the same shape.
        mattes: Where the object is, same number of frames.
    """
    seen = np.logical_or.reduce(mattes)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if len(rows) < 8 or len(columns) < 8:
        return None
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # One pixel of erosion takes away the rim that still shows the old background.
    kernel = np.ones((3, 3), np.uint8)
    cut = [np.asarray(cv2.erode(matte[box].astype(np.uint8) * 255, kernel), np.uint8) for matte in mattes]
    return Sprite([image[box] for image in images], cut) if cut[0].any() else None


def cut_random_sprite(pictures: LabelledPictures, rng: np.random.Generator) -> Sprite | None:
    """Cut one random object out of a random image; None if it is too small to be pasted."""
    image, mask = pictures.read(int(rng.integers(len(pictures))))
    ids = present_ids(mask)
    if len(ids) == 0:
        return None
    return cut_sprite([image], [mask == rng.choice(ids)])


def paste_sprites(
    images: Image,
    labels: Image,
    draw: Callable[[], Sprite | None],
    paste: PasteSettings,
    rng: np.random.Generator,
) -> None:
    """Paste a random number of sprites over all frames, in place, each with an id of its own.

    Args:
        images: RGB frames, shape (T, H, W, 3).
        labels: Label maps, shape (T, H, W).
        draw: Gives a random sprite; None pastes nothing.
        paste: How many, and how.
        rng: Source of randomness.
    """
    shares = np.asarray(paste.counts)
    for _ in range(int(rng.choice(len(shares), p=shares / shares.sum()))):
        sprite = draw()
        if sprite is None:
            continue
        copies = 2 if paste.twins > 0 and rng.random() < paste.twins else 1
        for _ in range(copies):
            paste_sprite(images, labels, sprite, int(labels.max()) + 1, paste, rng)


def paste_sprite(
    images: Image, labels: Image, sprite: Sprite, label: int, paste: PasteSettings, rng: np.random.Generator
) -> None:
    """Paste a moving sprite over all frames, in place.

    Args:
        images: RGB frames, shape (T, H, W, 3).
        labels: Label maps, shape (T, H, W).
        sprite: What to paste.
        label: Id that its pixels get.
        paste: Size, motion, and whether it may be away.
        rng: Source of randomness.
    """
    frames, size = len(labels), (labels.shape[1], labels.shape[2])
    height, width = sprite.images[0].shape[:2]
    scale = rng.uniform(*paste.size) * min(size) / max(height, width)
    flip = -1 if rng.random() < 0.5 else 1
    # The sprite turns about its own middle; its place is anywhere where at least its middle is well inside.
    place = rng.uniform(0.15, 0.85, 2) * size[::-1]
    moves = motion.sample_motion(rng, frames, paste.motion)
    moves[:, :2, 2] *= min(size)
    centre = motion.translation(-(width - 1) / 2, -(height - 1) / 2)
    matrices = motion.translation(*place) @ moves @ motion.scaling(flip * scale, scale) @ centre
    warps = motion.sample_warps(rng, frames, paste.motion)
    away = _frames_away(rng, frames, paste.hidden)
    for index in range(frames):
        if index in away:
            continue
        which = min(index, len(sprite.images) - 1)
        matte = motion.warp(sprite.mattes[which], matrices[index], size, warps[index], motion.BORDER_ZERO)
        left, top, box_width, box_height = cv2.boundingRect(matte)
        if box_width == 0:
            continue
        box = np.s_[top : top + box_height, left : left + box_width]
        # Only what the matte covers is used. OpenCV mirrors step by step, so that mirroring a small sprite across a
        # whole frame would take seconds; a zero border would darken the sprite's rim.
        picture = motion.warp(sprite.images[which], matrices[index], size, warps[index], motion.BORDER_REPLICATE)
        alpha = matte[box].astype(np.float32)[..., None] / 255
        blended = images[index][box] * (1 - alpha) + picture[box] * alpha
        images[index][box] = (blended + 0.5).astype(np.uint8)
        labels[index][box][matte[box] > 127] = label


def present_ids(labels: Image) -> NDArray[np.int64]:
    """Object ids that occur in a label map (H, W), rising, without the background."""
    # Ten times as fast as numpy.unique or numpy.bincount, which convert a whole video frame to 64 bits.
    histogram = cv2.calcHist([labels], [0], None, [256], [0, 256])
    return np.flatnonzero(histogram.ravel()[1:]) + 1


def random_object_pixel(labels: Image, rng: np.random.Generator) -> NDArray[np.float64] | None:
    """Position (x, y) of a random pixel that belongs to any object, or None if there is none."""
    positions = cv2.findNonZero(labels)
    if positions is None:
        return None
    return np.asarray(positions[int(rng.integers(len(positions)))].ravel(), np.float64)


def _frames_away(rng: np.random.Generator, frames: int, chance: float) -> range:
    """A random stretch of frames between the first and the last one, with this chance; else none."""
    if frames < 3 or chance == 0 or rng.random() >= chance:
        return range(0)
    first = int(rng.integers(1, frames - 1))
    return range(first, int(rng.integers(first + 1, frames)))


def _planes(labels: Image, ids: NDArray[np.int64]) -> list[Image]:
    """Masks of the ids, a few merged as channels of one image."""
    planes = [cv2.compare(labels, float(label), cv2.CMP_EQ) for label in ids]
    return [
        np.asarray(cv2.merge(planes[start : start + _MERGED]), np.uint8) for start in range(0, len(planes), _MERGED)
    ]
