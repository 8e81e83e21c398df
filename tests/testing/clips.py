"""A clip of moving squares on the disk, with exact masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vos_zoo.media.masks import write_mask

HEIGHT, WIDTH, FRAMES = 48, 64, 8
LATE_FRAME = 3


@dataclass(frozen=True)
class SmallClip:
    """Where a generated clip lies.

    Attributes:
        frames: Folder of PNG frames, ``00000.png`` onwards, 64x48 pixels.
        masks: Folder of exact masks of all frames: object 1 from the start, object 7 from frame 3 on.
        first: Mask of the first frame.
        given: Folder with the masks of frames 0 and 3 only.
    """

    frames: Path
    masks: Path
    first: Path
    given: Path


def make_small_clip(folder: Path) -> SmallClip:
    """Write the clip below a folder."""
    frames, masks, given = (folder / name for name in ("frames", "masks", "given"))
    frames.mkdir()
    noise = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for index in range(FRAMES):
        image, mask = noise.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        left = 4 + 3 * index
        image[10:30, left : left + 18] = (220, 60, 40)
        mask[10:30, left : left + 18] = 1
        if index >= LATE_FRAME:
            image[32:44, 40 - index : 54 - index] = (40, 90, 230)
            mask[32:44, 40 - index : 54 - index] = 7
        Image.fromarray(image).save(frames / f"{index:05d}.png")
        write_mask(masks / f"{index:05d}.png", mask)
        if index in (0, LATE_FRAME):
            write_mask(given / f"{index:05d}.png", mask)
    return SmallClip(frames=frames, masks=masks, first=masks / "00000.png", given=given)
