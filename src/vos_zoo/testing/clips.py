"""Generated clips that tests of models run on: moving shapes with exact masks, small enough for any CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vos_zoo.data.clips.shapes import moving_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Size of ``VIDEO`` in pixels.
HEIGHT, WIDTH = 48, 64
#: Ten frames with objects 1, 2 and 3.
VIDEO = moving_shapes(10, HEIGHT, WIDTH, num_objects=3, rng=1)


def planes(batch: int, objects: int, size: tuple[int, int]) -> torch.Tensor:
    """Masks (B, O, H, W): each object owns a band of columns, other ones in other clips."""
    owner = torch.arange(size[1]) * (objects + 1) // size[1]
    masks = torch.stack(
        [(owner.roll(3 * row) == plane + 1).float() for row in range(batch) for plane in range(objects)]
    )
    return masks.view(batch, objects, 1, size[1]).expand(-1, -1, size[0], -1).contiguous()


def relabel(mask: NDArray[Any], ids: tuple[int, ...]) -> NDArray[np.int32]:
    """Give objects 1, 2, ... these ids; objects without one become background."""
    table = np.zeros(256, np.int32)
    table[1 : 1 + len(ids)] = ids
    return table[mask]


def training_batch(frames: int = 5, size: int = 96) -> dict[str, Any]:
    """Two clips: one with two objects, one with one; their first masks are perturbed."""
    videos = [moving_shapes(frames, size, size, num_objects=objects, rng=objects) for objects in (2, 1)]
    masks = torch.from_numpy(np.stack([video.masks for video in videos]))
    images = torch.from_numpy(np.stack([video.frames for video in videos])).movedim(-1, 2).float() / 127 - 1
    exact = torch.stack([(masks[:, 0] == plane).float() for plane in (1, 2)], dim=1)
    valid = torch.tensor([[True, True], [True, False]])
    perturbed = exact.roll(2, dims=3)
    return {"images": images, "masks": masks, "valid_objects": valid, "first_masks": perturbed, "name": ["a", "b"]}
