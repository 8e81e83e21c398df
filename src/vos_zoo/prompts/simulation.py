"""Prompts as a person would give them, drawn from the true mask: for training and for measuring."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import PromptError

from .mask import Method, prompt_mask
from .prompt import Box, Points, Prompt

__all__ = ["Click", "damaged_mask", "jittered_box", "next_click", "overlaps", "tight_box"]

Mask = NDArray[np.bool_]


class Click(NamedTuple):
    """A point in pixels, and whether the object is there."""

    x: int
    y: int
    is_positive: bool


def next_click(prediction: Mask, truth: Mask, rng: np.random.Generator | None = None) -> Click | None:
    """Click where a prediction is wrong, as far from where it is right as possible.

    Whichever of the missing and the surplus parts is deeper gets the click. An empty prediction makes this the first
    click, into the middle of the object.

    Args:
        prediction: Shape (H, W).
        truth: Shape (H, W).
        rng: Chooses among the pixels of at least half that depth, as hands do; None takes the deepest.

    Returns:
        The click; None if nothing is wrong.

    Source: evaluation of interactive segmentation since Xu et al., "Deep Interactive Object Selection", CVPR 2016.

    Example:
        >>> truth = np.zeros((9, 9), bool)
        >>> truth[2:7, 1:6] = True
        >>> next_click(np.zeros_like(truth), truth)
        Click(x=3, y=4, is_positive=True)
    """
    missing, surplus = truth & ~prediction, prediction & ~truth
    depths = _depth(missing), _depth(surplus)
    deepest = depths[0].max(), depths[1].max()
    if max(deepest) == 0:
        return None
    is_positive = bool(deepest[0] >= deepest[1])
    depth = depths[0] if is_positive else depths[1]
    candidates = np.flatnonzero(depth >= depth.max() * (1.0 if rng is None else 0.5))
    chosen = int(candidates[0] if rng is None else rng.choice(candidates))
    y, x = divmod(chosen, truth.shape[1])
    return Click(x, y, is_positive)


def tight_box(mask: Mask) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a mask that is not empty; the last two are pixels of it, too."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def jittered_box(truth: Mask, rng: np.random.Generator, jitter: float = 0.08) -> tuple[int, int, int, int]:
    """Draw a box by an unsteady hand.

    Args:
        truth: Shape (H, W), not empty.
        rng: Source of randomness.
        jitter: Standard deviation of each side's error, as a share of the box's extent in that direction; errors are
            cut at twice that.

    Returns:
        Left, top, right and bottom, within the image.
    """
    left, top, right, bottom = tight_box(truth)
    extent = np.array([right - left + 1, bottom - top + 1] * 2)
    moved = [left, top, right, bottom] + np.clip(rng.normal(0, jitter, 4), -2 * jitter, 2 * jitter) * extent
    limits = np.array([truth.shape[1], truth.shape[0]] * 2) - 1
    x0, y0, x1, y1 = np.clip(np.round(moved), 0, limits).astype(int).tolist()
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def damaged_mask(truth: Mask, rng: np.random.Generator) -> Mask:
    """Spoil a mask the way a tracker does: a part is lost, something beside is taken, or the whole has moved.

    Args:
        truth: Shape (H, W), not empty.
        rng: Source of randomness.

    Returns:
        Shape (H, W); maybe empty.
    """
    left, top, right, bottom = tight_box(truth)
    width, height = right - left + 1, bottom - top + 1
    damaged = truth.astype(np.uint8)
    shift = rng.normal(0, 0.06, 2) * [width, height]
    damaged = cv2.warpAffine(
        damaged, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), truth.shape[::-1], flags=cv2.INTER_NEAREST
    )
    for value in (0, 1):  # lost, then taken
        if rng.random() < 0.6:
            centre = (int(rng.uniform(left, right + 1)), int(rng.uniform(top, bottom + 1)))
            axes = (int(width * rng.uniform(0.1, 0.5)), int(height * rng.uniform(0.1, 0.5)))
            cv2.ellipse(damaged, centre, axes, rng.uniform(0, 180), 0, 360, value, cv2.FILLED)
    radius = int(rng.uniform(-0.05, 0.05) * (width + height) / 2)
    if radius:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(radius) + 1,) * 2)
        damaged = cv2.dilate(damaged, kernel) if radius > 0 else cv2.erode(damaged, kernel)
    return damaged > 0


def overlaps(
    frame: NDArray[np.uint8],
    truth: Mask,
    *,
    method: Method,
    begin_with: Literal["box", "click"],
    count: int,
    rng: np.random.Generator,
) -> list[float]:
    """Prompt again and again, always where the answer is most wrong, and measure each answer.

    Args:
        frame: RGB, uint8, shape (H, W, 3).
        truth: The object, shape (H, W), not empty.
        method: As for :func:`vos_zoo.prompts.prompt_mask`.
        begin_with: Whether the first prompt is a box by an unsteady hand or a click into the middle; all others are
            clicks.
        count: Number of prompts.
        rng: Shakes the hand.

    Returns:
        Intersection over union (0-1) after each prompt; an empty answer has 0.
    """
    prompts: list[Prompt] = []
    answer = np.zeros(truth.shape, bool)
    scores: list[float] = []
    for number in range(count):
        click = next_click(answer, truth)
        if number == 0 and begin_with == "box":
            left, top, right, bottom = jittered_box(truth, rng)
            prompts.append(Box(1, left, top, right + 1, bottom + 1))
        elif click is not None:
            prompts.append(Points(1, **{"positive" if click.is_positive else "negative": [(click.x, click.y)]}))
        try:
            answer = prompt_mask(frame, prompts, method=method, previous=answer if number else None) == 1
        except PromptError:  # nothing was found
            answer = np.zeros(truth.shape, bool)
        scores.append(float((answer & truth).sum() / (answer | truth).sum()))
    return scores


def _depth(region: Mask) -> NDArray[np.float32]:
    """Distance of every pixel to the outside of a region; the border of the image counts as outside."""
    padded = np.pad(region, 1).astype(np.uint8)
    depth: NDArray[np.float32] = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return depth
