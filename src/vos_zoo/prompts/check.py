"""The prompts of a frame, checked against it and sorted by object."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import PromptError

from .prompt import Box, Point, Points, Polygon, Prompt, Scribbles

__all__ = ["ObjectPrompts", "check_inside", "check_prompts", "describe_prompts"]


@dataclass
class ObjectPrompts:
    """All prompts for one object on one frame.

    Attributes:
        object_id: The object.
        box: Its box.
        polygons: Outlines, of which the object has all pixels inside any.
        positive: Lines on the object; a point is a line of one.
        negative: Lines beside it.
    """

    object_id: int
    box: Box | None = None
    polygons: list[Polygon] = field(default_factory=list)
    positive: list[tuple[Point, ...]] = field(default_factory=list)
    negative: list[tuple[Point, ...]] = field(default_factory=list)

    @property
    def has_lines(self) -> bool:
        """Whether points or scribbles are among them."""
        return bool(self.positive or self.negative)

    @property
    def points(self) -> list[Point]:
        """All points that the prompts consist of."""
        outlines = [point for polygon in self.polygons for point in polygon.outline]
        corners = [] if self.box is None else list(self.box.points)
        return [*corners, *outlines, *(point for line in (*self.positive, *self.negative) for point in line)]


def check_prompts(
    prompts: Sequence[Prompt], size: tuple[int, int], previous: NDArray[Any] | None = None
) -> list[ObjectPrompts]:
    """Check prompts against their frame and each other, and sort them by object.

    Args:
        prompts: Prompts of one frame, any number for each object.
        size: Height and width of the frame.
        previous: Object ids of the mask to be corrected, shape (H, W).

    Returns:
        One entry per object, in the order in which objects appear.

    Raises:
        PromptError: If there is no prompt, one lies outside of the frame, two contradict each other, or an object has
            negative prompts alone and is not in ``previous``.
    """
    found: dict[int, ObjectPrompts] = {}
    for prompt in prompts:
        if not isinstance(prompt, (Box, Polygon, Points, Scribbles)):
            raise PromptError(
                f"A prompt is of type {type(prompt).__name__}. Expected a Box, Polygon, Points or Scribbles."
            )
        check_inside(prompt, size)
        _add(found.setdefault(prompt.object_id, ObjectPrompts(prompt.object_id)), prompt)
    if not found:
        raise PromptError("No prompt was given. Expected a Box, Polygon, Points or Scribbles for each object.")
    known = [] if previous is None else [int(label) for label in np.unique(previous) if label]
    for of_object in found.values():
        if of_object.box is None and not of_object.polygons and not of_object.positive:
            _check_known(of_object.object_id, known)
    _check_agreement(list(found.values()), size)
    return list(found.values())


def describe_prompts(of_object: ObjectPrompts) -> str:
    """Name the prompts of an object in a few words, for messages."""
    parts = [
        (1 if of_object.box is not None else 0, "box", "boxes"),
        (len(of_object.polygons), "polygon", "polygons"),
        (len(of_object.positive), "positive point or line", "positive points or lines"),
        (len(of_object.negative), "negative point or line", "negative points or lines"),
    ]
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in parts if count)


def _add(of_object: ObjectPrompts, prompt: Prompt) -> None:
    if isinstance(prompt, Box):
        if of_object.box is not None and of_object.box != prompt:
            raise PromptError(
                f"Object {prompt.object_id} has two different boxes on one frame. Expected one; give the second one "
                "another id if it is another object."
            )
        of_object.box = prompt
    elif isinstance(prompt, Polygon):
        of_object.polygons.append(prompt)
    elif isinstance(prompt, Points):
        of_object.positive += [(point,) for point in prompt.positive]
        of_object.negative += [(point,) for point in prompt.negative]
    elif isinstance(prompt, Scribbles):
        of_object.positive += [tuple(line) for line in prompt.positive]
        of_object.negative += [tuple(line) for line in prompt.negative]
    if of_object.box is not None and of_object.polygons:
        raise PromptError(
            f"Object {prompt.object_id} has a box and a polygon on one frame. Expected one of them: a polygon says "
            "exactly which pixels belong to the object. Points may stand beside either."
        )


def check_inside(prompt: Prompt, size: tuple[int, int]) -> None:
    """Refuse a prompt with a point outside of its frame.

    Args:
        prompt: The prompt.
        size: Height and width of the frame.

    Raises:
        PromptError: If there is one.
    """
    height, width = size
    # An edge may lie on the frame's far edge, where no pixel is that a point could mean.
    is_area = isinstance(prompt, (Box, Polygon))
    for x, y in prompt.points:
        is_inside = (0 <= x <= width and 0 <= y <= height) if is_area else (0 <= x < width and 0 <= y < height)
        if not is_inside:
            name = {Box: "corner of the box", Polygon: "corner of a polygon", Points: "point"}.get(
                type(prompt), "point"
            )
            raise PromptError(
                f"The {name} {x:g},{y:g} of object {prompt.object_id} lies outside of the frame, which is {width}×"
                f"{height} pixels (width × height). Expected x from 0 to {width} and y from 0 to {height}, counted "
                "from the top-left corner of the frame as it is stored, not as it is shown."
            )


def _check_known(object_id: int, known: list[int]) -> None:
    if object_id in known:
        return
    there = f"has the objects {', '.join(map(str, known))}" if known else "has no objects"
    advice = "Give it a positive point, a box or a polygon"
    if not known:
        raise PromptError(f"Object {object_id} has negative prompts alone, and nothing says where it is. {advice}.")
    raise PromptError(
        f"Object {object_id} has negative prompts alone, and the mask to be corrected {there}. {advice}, "
        "or correct its id."
    )


def _check_agreement(objects: list[ObjectPrompts], size: tuple[int, int]) -> None:
    """Refuse pixels that are both positive and negative for an object, or positive for two objects."""
    claimed: dict[tuple[int, int], int] = {}
    for of_object in objects:
        positive = {pixel for line in of_object.positive for pixel in line_pixels(line)}
        both = positive & {pixel for line in of_object.negative for pixel in line_pixels(line)}
        if both:
            x, y = min(both)
            raise PromptError(
                f"Pixel {x},{y} is positive and negative for object {of_object.object_id}. Expected one of "
                "them; remove the other."
            )
        for x, y in sorted(positive):
            other = claimed.setdefault((x, y), of_object.object_id)
            if other != of_object.object_id:
                raise PromptError(
                    f"Pixel {x},{y} is positive for the objects {other} and {of_object.object_id}. A pixel belongs to "
                    "one object; remove one of the two."
                )


def line_pixels(line: Sequence[Point]) -> set[tuple[int, int]]:
    """Return the pixels (x, y) that a line through points covers, one pixel wide."""
    corners = [(math.floor(x), math.floor(y)) for x, y in line]
    pixels = set(corners)
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        pixels |= {
            (round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)) for step in range(steps + 1)
        }
    return pixels
