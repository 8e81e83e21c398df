"""Prompts as they are written on a command line.

``[ID][@FRAME]:NUMBERS``: which object, on which frame, and where, in pixels from the frame's top-left corner. Without
``ID`` it is object 1, without ``@FRAME`` the frame that the command names for all prompts.

=============  =====================================================================================
a box          ``1:LEFT,TOP,RIGHT,BOTTOM``
a polygon      ``1:X,Y,X,Y,X,Y``, three corners or more
a point        ``1:+X,Y`` on the object (the plus may be left out), ``1:-X,Y`` beside it
a scribble     ``1:+X,Y,X,Y``, a line through points, with signs as for a point
=============  =====================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vos_zoo.errors import PromptError

from .prompt import Box, Points, Polygon, Prompt, Scribbles

__all__ = ["Spelled", "parse_box", "parse_point", "parse_polygon", "parse_scribble", "prompts_by_frame"]

_HEAD = re.compile(r"(?P<id>\d{1,9})?(?:@(?P<frame>\d{1,9}))?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Spelled(NamedTuple):
    """A prompt with the frame that its text names; None if it names none."""

    prompt: Prompt
    frame: int | None


def parse_box(text: str) -> Spelled:
    """Read a box.

    Raises:
        PromptError: If the text is none.

    Example:
        >>> parse_box("1:120,40,310,420")
        Spelled(prompt=Box(object_id=1, left=120.0, top=40.0, right=310.0, bottom=420.0), frame=None)
    """
    return _parse(text, "--box", "ID:LEFT,TOP,RIGHT,BOTTOM", _box)


def parse_polygon(text: str) -> Spelled:
    """Read a polygon.

    Raises:
        PromptError: If the text is none.

    Example:
        >>> parse_polygon("2@30:0,0,9,0,9,5").frame
        30
    """
    return _parse(text, "--polygon", "ID:X,Y,X,Y,X,Y", lambda object_id, body: Polygon(object_id, _pairs(body)))


def parse_point(text: str) -> Spelled:
    """Read a positive or negative point.

    Raises:
        PromptError: If the text is none.

    Example:
        >>> parse_point("1:-40,40").prompt
        Points(object_id=1, positive=(), negative=((40.0, 40.0),))
    """
    return _parse(text, "--point", "ID:+X,Y or ID:-X,Y", _point)


def parse_scribble(text: str) -> Spelled:
    """Read a positive or negative line.

    Raises:
        PromptError: If the text is none.

    Example:
        >>> parse_scribble("1:+10,10,20,15").prompt.positive
        (((10.0, 10.0), (20.0, 15.0)),)
    """
    return _parse(text, "--scribble", "ID:+X,Y,X,Y or ID:-X,Y,X,Y", _scribble)


def prompts_by_frame(spelled: Iterable[Spelled], frame: int) -> dict[int, list[Prompt]]:
    """Sort prompts by their frames.

    Args:
        spelled: Prompts in the order in which they were given.
        frame: Where those belong that name no frame.

    Returns:
        Number of a frame -> its prompts, frames in ascending order.
    """
    prompts: dict[int, list[Prompt]] = {}
    for prompt, named in spelled:
        prompts.setdefault(frame if named is None else named, []).append(prompt)
    return dict(sorted(prompts.items()))


def _parse(text: str, option: str, expected: str, make: Callable[[int, str], Prompt]) -> Spelled:
    head, colon, body = text.partition(":")
    match = _HEAD.fullmatch(head.strip()) if colon else _HEAD.fullmatch("")
    if match is None:
        raise PromptError(
            f"{option} {text!r} begins with {head!r}. Expected {expected}, or ID@FRAME before the colon for a frame "
            "of its own."
        )
    object_id, frame = (None if match[name] is None else int(match[name]) for name in ("id", "frame"))
    try:
        return Spelled(make(1 if object_id is None else object_id, (body if colon else text).strip()), frame)
    except ValueError as error:  # PromptError, too
        raise PromptError(f"{option} {text!r}: {error} Expected {expected}.") from error


def _box(object_id: int, body: str) -> Box:
    pairs = _pairs(body)
    if len(pairs) != 2:
        raise ValueError(f"it has {2 * len(pairs)} numbers, not four.")
    return Box(object_id, *pairs[0], *pairs[1])


def _point(object_id: int, body: str) -> Points:
    pairs = _pairs(body[1:] if body[:1] in ("+", "-") else body)
    if len(pairs) != 1:
        raise ValueError(f"it has {2 * len(pairs)} numbers, not two.")
    return Points(object_id, negative=pairs) if body.startswith("-") else Points(object_id, positive=pairs)


def _scribble(object_id: int, body: str) -> Scribbles:
    line = _pairs(body[1:] if body[:1] in ("+", "-") else body)
    return Scribbles(object_id, negative=[line]) if body.startswith("-") else Scribbles(object_id, positive=[line])


def _pairs(body: str) -> list[tuple[float, float]]:
    words = [word.strip() for word in body.split(",")]
    wrong = next((word for word in words if _NUMBER.fullmatch(word) is None), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is not a number.")
    if len(words) % 2:
        raise ValueError(f"{len(words)} numbers are not pairs of x and y.")
    numbers = [float(word) for word in words]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
