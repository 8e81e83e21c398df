"""From prompts on a frame to a mask of object ids."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import PromptError, ShapeError
from vos_zoo.registry import HELPER_WEIGHTS

from .brush import paint
from .check import ObjectPrompts, check_prompts, describe_prompts
from .grabcut import segment_by_grabcut
from .polygon_fill import fill_polygon
from .prompt import Brush
from .window import Window

if TYPE_CHECKING:
    from pathlib import Path

    from .network import PromptNetwork
    from .prompt import Prompt

__all__ = ["METHODS", "Method", "prompt_mask"]

Method = Union[Literal["auto", "network", "grabcut"], "Path", "PromptNetwork"]
"""How masks are grown, see :func:`prompt_mask`."""

METHODS = ("auto", "network", "grabcut")

_SURE = 255  # of an estimate; at least half of it is inside
_INSIDE = 128


def prompt_mask(
    frame: NDArray[np.uint8],
    prompts: Sequence[Prompt],
    *,
    method: Method = "auto",
    previous: NDArray[Any] | None = None,
) -> NDArray[np.int32]:
    """Make a mask from boxes, polygons, points, scribbles and brush strokes.

    An object that is prompted only with polygons gets exactly their pixels. ``method`` turns a box or positive points
    into a mask. Points and scribbles correct the mask of an object that is in ``previous`` or has polygons. A box or a
    polygon alone redraws the object.

    Where objects overlap, a pixel goes to the object with the higher probability; ties go to the smaller object.
    Objects of ``previous`` without a prompt keep their pixels, except for a connected part that contains a positive
    prompt of another object. Brush strokes are painted last, exactly, in their order; an eraser may remove an object.

    Args:
        frame: RGB values 0-255, uint8, shape (H, W, 3); not modified.
        prompts: Prompts for this frame, any number per object.
        method: How masks are made: ``network`` uses the bundled prompt network, ``grabcut`` only colours, ``auto`` the
            network if it is available; or the path of a prompt network written by ``vos-zoo export``; or a prompt
            network in eval mode.
        previous: Object ids of a mask to be corrected, shape (H, W); not modified.

    Returns:
        Object ids, 0 background, shape (H, W).

    Raises:
        PromptError: If a prompt lies outside of the frame, prompts contradict each other, an object has negative
            prompts alone and is not in ``previous``, or nothing is left of an object.
        ShapeError: If frame or ``previous`` have another shape or type.
        VosZooError: If the network of ``method`` cannot be read.

    Example:
        >>> from vos_zoo.prompts import Polygon
        >>> frame = np.zeros((2, 3, 3), np.uint8)
        >>> prompt_mask(frame, [Polygon(7, [(1, 0), (3, 0), (3, 1), (1, 1)])]).tolist()
        [[0, 7, 7], [0, 0, 0]]
    """
    _check_arrays(frame, previous)
    if isinstance(method, str) and method not in METHODS:
        raise PromptError(f"There is no method {method!r}. Expected one of {', '.join(METHODS)}, or a folder's Path.")
    size = frame.shape[0], frame.shape[1]
    strokes = [prompt for prompt in prompts if isinstance(prompt, Brush)]
    grown = [prompt for prompt in prompts if not isinstance(prompt, Brush)]
    ids = np.zeros(size, np.int32) if previous is None else np.asarray(previous, np.int32)
    given = check_prompts(grown, size, previous) if grown or not strokes else []
    estimates = {entry.object_id: _estimate(frame, entry, ids == entry.object_id, method) for entry in given}
    kept = np.where(np.isin(ids, list(estimates)), 0, ids).astype(np.int32)
    mask = _compose(kept, estimates, given)
    for entry in given:
        if not (mask == entry.object_id).any():
            _refuse_empty(entry, estimates[entry.object_id][1], previous)
    return paint(mask, strokes)


Estimate = tuple[Window, NDArray[np.uint8]]
Grower = Callable[[NDArray[np.uint8], ObjectPrompts, "NDArray[np.bool_] | None"], Estimate]


def _grower(method: Method) -> Grower:
    if method == "grabcut" or (method == "auto" and not HELPER_WEIGHTS):
        return segment_by_grabcut
    from .prediction import bundled_network, segment_by_network, stored_network  # which load PyTorch

    if isinstance(method, str):
        return functools.partial(segment_by_network, bundled_network())
    network = stored_network(method) if isinstance(method, os.PathLike) else method
    return functools.partial(segment_by_network, network)


def _estimate(
    frame: NDArray[np.uint8], prompts: ObjectPrompts, existing: NDArray[np.bool_], method: Method
) -> Estimate:
    """Return a window of the frame, and how sure it is that each of its pixels belongs to the object, 0-255."""
    height, width = existing.shape
    filled = np.zeros((height, width), bool)
    for polygon in prompts.polygons:
        filled |= fill_polygon(polygon.outline, (height, width))
    if not prompts.has_lines and prompts.polygons:
        return Window(0, 0, width, height, 1.0), filled.view(np.uint8) * np.uint8(_SURE)
    base = existing if prompts.has_lines and existing.any() else filled if filled.any() else None
    return _grower(method)(frame, prompts, base)


def _compose(
    kept: NDArray[np.int32], estimates: dict[int, Estimate], given: Sequence[ObjectPrompts]
) -> NDArray[np.int32]:
    mask, best = kept.copy(), np.zeros(kept.shape, np.uint8)
    # The smallest last, so that it wins between equals.
    order = sorted(given, key=lambda entry: -int((estimates[entry.object_id][1] >= _INSIDE).sum()))
    for entry in order:
        window, sureness = estimates[entry.object_id]
        inside = (sureness >= _INSIDE) & (sureness >= best[window.slices])
        others = kept[window.slices]
        inside &= (others == 0) | _handed_over(inside & (others > 0), window, entry)
        mask[window.slices][inside] = entry.object_id
        best[window.slices][inside] = sureness[inside]
    return mask


def _handed_over(taken: NDArray[np.bool_], window: Window, entry: ObjectPrompts) -> NDArray[np.bool_]:
    """Of pixels that belong to objects without prompts, return the connected parts with a positive prompt in them."""
    pixels = [(int(x) - window.left, int(y) - window.top) for line in entry.positive for x, y in line]
    height, width = taken.shape
    hits = [(x, y) for x, y in pixels if 0 <= x < width and 0 <= y < height and taken[y, x]]
    if not hits:
        return np.zeros_like(taken)
    _, parts = cv2.connectedComponents(taken.astype(np.uint8))
    return np.isin(parts, [int(parts[y, x]) for x, y in hits])


def _refuse_empty(entry: ObjectPrompts, sureness: NDArray[np.uint8], previous: NDArray[Any] | None) -> None:
    what = f"The prompts of object {entry.object_id} ({describe_prompts(entry)})"
    if (sureness >= _INSIDE).any():
        raise PromptError(
            f"{what} lead to a mask that other objects cover whole. Give the object a positive point where it can be "
            "seen, or leave it out of this frame."
        )
    advice = (
        "Check that it goes around the centre of a pixel"
        if entry.polygons and not entry.has_lines
        else ("Put a point into its middle, or draw a box around all of it")
    )
    raise PromptError(f"{what} lead to an empty mask. {advice}.")


def _check_arrays(frame: Any, previous: Any) -> None:
    if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
        found = f"{frame.dtype} of shape {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise ShapeError(f"The frame is {found}. Expected RGB values 0-255, a NumPy array of uint8 (H, W, 3).")
    if previous is None:
        return
    if not (isinstance(previous, np.ndarray) and previous.dtype.kind in "bui" and previous.ndim == 2):
        found = (
            f"{previous.dtype} of shape {previous.shape}" if isinstance(previous, np.ndarray) else str(type(previous))
        )
        raise ShapeError(f"The mask to be corrected is {found}. Expected whole object ids (H, W).")
    if previous.shape != frame.shape[:2]:
        raise ShapeError(
            f"The mask to be corrected has shape {previous.shape}, the frame {frame.shape[:2]} (height, width). "
            "Expected the same."
        )
