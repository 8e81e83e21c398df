"""Masks from prompts by the prompt network."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD
from vos_zoo.registry import find_helper
from vos_zoo.weights.checkpoint import read_model
from vos_zoo.weights.helpers import load_helper

from .maps import draw_maps
from .window import Extent, Window, extent_of_mask, extent_of_points, join_extents

if TYPE_CHECKING:
    from pathlib import Path

    from .check import ObjectPrompts
    from .network import PromptNetwork

__all__ = ["BOX_TOLERANCE", "INSIDE", "MARGIN", "bundled_network", "segment_by_network", "stored_network"]

WEIGHT = "prompt.small"

MARGIN = 1.5
INSIDE = 128  # of 255
BOX_TOLERANCE = 0.2  # share of the box's extent that an object may stand out; hands are unsteady
_READING = threading.Lock()
_LEAST_AREA = 4  # pixels of the crop; fewer say nothing about where the object ends


def bundled_network() -> PromptNetwork:
    """Return the bundled prompt network, which is read once, whichever thread asks first.

    Raises:
        VosZooError: If its file is missing, changed or damaged.
    """
    with _READING:
        return _bundled_network()


@functools.cache
def _bundled_network() -> PromptNetwork:
    network: PromptNetwork = load_helper(WEIGHT)
    return network


@functools.lru_cache(maxsize=2)
def stored_network(folder: Path) -> PromptNetwork:
    """Return the prompt network of a checkpoint folder, which is read once.

    Raises:
        VosZooError: If there is no such folder, or it holds no prompt network, or a damaged one.
    """
    network: PromptNetwork = read_model(folder, "network", find=find_helper)
    return network


def segment_by_network(
    network: PromptNetwork, frame: NDArray[np.uint8], prompts: ObjectPrompts, base: NDArray[np.bool_] | None
) -> tuple[Window, NDArray[np.uint8]]:
    """Let the network find an object.

    A box or a mask to be corrected says where to look. Points alone do not: then the network first looks at a square of
    the frame's short side, or at the whole frame if the object goes beyond, and once more, closer, at what it found.

    Args:
        network: The network, in eval mode.
        frame: RGB, shape (H, W, 3).
        prompts: Of one object, within the frame.
        base: Mask to be corrected, shape (H, W), not empty, or None.

    Returns:
        The window that was looked at, and how sure the network is of each of its pixels, 0-255, shape (window's
        height, width).
    """
    size = frame.shape[0], frame.shape[1]
    lines = [point for line in (*prompts.positive, *prompts.negative) for point in line]
    known = [extent_of_points(lines)] if lines else []
    if base is not None:
        window = _window(network, join_extents(extent_of_mask(base), *known), size)
        return window, window.enlarge(_look(network, frame, window, prompts, window.cut_mask(base)))
    if prompts.box is not None:
        window = _window(network, join_extents((*prompts.box.points[0], *prompts.box.points[1]), *known), size)
        return window, window.enlarge(_look(network, frame, window, prompts, None))
    window, found = _search(network, frame, prompts, join_extents(*known))
    inside = np.zeros(size, bool)
    inside[window.slices] = window.enlarge(found) >= INSIDE
    if (found >= INSIDE).sum() < _LEAST_AREA or not inside.any():
        return window, window.enlarge(found)
    closer = _window(network, join_extents(extent_of_mask(inside), *known), size)
    return closer, closer.enlarge(_look(network, frame, closer, prompts, closer.cut_mask(inside)))


def _search(
    network: PromptNetwork, frame: NDArray[np.uint8], prompts: ObjectPrompts, known: Extent
) -> tuple[Window, NDArray[np.uint8]]:
    height, width = frame.shape[:2]
    side = max(min(height, width), MARGIN * (known[2] - known[0]), MARGIN * (known[3] - known[1]))
    x, y = (known[0] + known[2]) / 2, (known[1] + known[3]) / 2
    square = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    window = Window.around(square, (height, width), margin=1.0, long_side=network.config.crop_size)
    found = _look(network, frame, window, prompts, None)
    if not _is_cut_off(found >= INSIDE, window, (height, width)):
        return window, found
    window = Window.around((0, 0, width, height), (height, width), margin=1.0, long_side=network.config.crop_size)
    return window, _look(network, frame, window, prompts, None)


def _is_cut_off(inside: NDArray[np.bool_], window: Window, size: tuple[int, int]) -> bool:
    """Tell whether an object reaches a side of the window beyond which the frame continues."""
    ends = window.top + window.height < size[0], window.left + window.width < size[1]
    sides = (
        (window.top > 0, inside[0]),
        (ends[0], inside[-1]),
        (window.left > 0, inside[:, 0]),
        (ends[1], inside[:, -1]),
    )
    return any(bool(goes_on and side.any()) for goes_on, side in sides)


def _window(network: PromptNetwork, extent: Extent, size: tuple[int, int]) -> Window:
    return Window.around(extent, size, margin=MARGIN, long_side=network.config.crop_size)


def _look(
    network: PromptNetwork,
    frame: NDArray[np.uint8],
    window: Window,
    prompts: ObjectPrompts,
    base: NDArray[np.bool_] | None,
) -> NDArray[np.uint8]:
    """Run the network on a window; returns its sureness 0-255 in the pixels of the crop."""
    height, width = window.crop_size
    maps = draw_maps(
        (height, width),
        box=None if prompts.box is None else window.place_extent((*prompts.box.points[0], *prompts.box.points[1])),
        positive=[window.place(line) for line in prompts.positive],
        negative=[window.place(line) for line in prompts.negative],
        previous=base,
    )
    bottom, right = -height % network.stride, -width % network.stride
    image = cv2.copyMakeBorder(window.cut(frame), 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    scaled = (image.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    pixels = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32))
    drawn = torch.from_numpy(np.pad(maps, ((0, 0), (0, bottom), (0, right))))
    # The image and its mirror image, of which the mean is more often right.
    device = next((part.device for part in network.parameters()), pixels.device)
    with torch.inference_mode():
        both = (torch.stack([part, part.flip(-1)]).to(device) for part in (pixels, drawn))
        logits = network(*both)[:, 0].float()
        sureness = (logits[0] + logits[1].flip(-1)).div(2).sigmoid()[:height, :width]
        found: NDArray[np.uint8] = sureness.mul(255).round().to(torch.uint8).cpu().numpy()
    if prompts.box is not None:
        found[_beyond(prompts, window)] = 0
    return found


def _beyond(prompts: ObjectPrompts, window: Window) -> NDArray[np.bool_]:
    """Return the pixels of the crop that are too far from the box and from positive prompts to be of the object."""
    assert prompts.box is not None
    corners = [extent_of_points([point for line in prompts.positive for point in line])] if prompts.positive else []
    left, top, right, bottom = join_extents((*prompts.box.points[0], *prompts.box.points[1]), *corners)
    dx, dy = BOX_TOLERANCE * (right - left), BOX_TOLERANCE * (bottom - top)
    x0, y0, x1, y1 = window.place_extent((left - dx, top - dy, right + dx, bottom + dy))
    beyond = np.ones(window.crop_size, bool)
    beyond[int(y0) : int(np.ceil(y1)) + 1, int(x0) : int(np.ceil(x1)) + 1] = False
    return beyond
