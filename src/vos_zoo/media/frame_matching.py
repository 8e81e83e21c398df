"""Which frame of a video a file or an entry of an annotation file belongs to, found by its name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PureWindowsPath

from vos_zoo.errors import MaskError
from vos_zoo.media.frame_names import FrameNames, some_names

__all__ = ["find_frames", "frame_stem", "last_number"]


def frame_stem(file_name: str) -> str:
    r"""Return the name of an image without folders and ending.

    Args:
        file_name: As some program wrote it, of any system.

    Example:
        >>> frame_stem("images/clip.v2/00012.jpg"), frame_stem("images\\frame 7.PNG"), frame_stem("00012")
        ('00012', 'frame 7', '00012')
    """
    name = PureWindowsPath(file_name).name  # takes both kinds of slashes
    return re.sub(r"(?<=.)\.(?![0-9]+$)[A-Za-z0-9]{1,5}$", "", name)


def find_frames(
    stems: Sequence[str], all_names: Sequence[str], *, first_number: int | None = None, what: str
) -> list[str]:
    """Find the frames that names mean: by the whole name, or else by the number at its end.

    Leading zeros may differ. Numbers are used only if no name fits as a whole. They may be the frames' own, or count
    the frames from 0 or from 1; where two of these readings fit, the caller has to decide.

    Args:
        stems: What somebody calls frames, without folders and endings.
        all_names: Names of all frames of the video, in their order.
        first_number: The number by which ``stems`` call the first frame of the video; None detects it.
        what: What messages call the things that belong to frames, such as "masks in `masks`".

    Returns:
        One of ``all_names`` for each of ``stems``.

    Raises:
        MaskError: If there is no such frame, or several could be meant.

    Example:
        >>> find_frames(["5"], ["00004", "00005"], what="masks")
        ['00005']
        >>> find_frames(["frame_000000", "frame_000001"], ["00000", "00001", "00002"], what="masks")
        ['00000', '00001']
    """
    if first_number is not None:
        return _by_counting(stems, all_names, first_number, what)
    names = FrameNames(all_names)
    found = {stem: names.find(stem, f"`{stem}` among the {what}") for stem in stems}
    strangers = [stem for stem, name in found.items() if name is None]
    if strangers and len(strangers) == len(found):
        return _by_number(stems, all_names, what)
    if strangers:
        raise MaskError(
            f"{len(strangers)} of the {what} match no frame: {some_names(strangers)}. The frames are called "
            f"{some_names(all_names)}. Rename or remove them, or are they of another video?{_hint(stems, all_names)}"
        )
    return [name for stem in stems if (name := found[stem]) is not None]


def last_number(name: str) -> int | None:
    """Return the last number in a name, or None.

    Example:
        >>> last_number("clip2_frame_00012"), last_number("dog")
        (12, None)
    """
    digits = re.findall(r"[0-9]+", name)
    return int(digits[-1][-18:]) if digits else None


def _by_number(stems: Sequence[str], all_names: Sequence[str], what: str) -> list[str]:
    """Match by the numbers at the ends of names, if they can be meant in one way only."""
    readings = _readings(stems, all_names)
    if not readings:
        raise MaskError(
            f"The {what} match no frame: {some_names(stems)}. The frames are called {some_names(all_names)}. Name them "
            f"like their frames. Are they of another video?{_hint_at_first(stems, all_names)}"
        )
    (reading, matched), *others = readings.items()
    if others:
        other, elsewhere = others[0]
        raise MaskError(
            f"The {what} can be read in two ways, since their names differ from those of the frames. {reading}, so "
            f"that `{stems[0]}` belongs to frame {matched[0]}; or {other}, so that it belongs to frame "
            f"{elsewhere[0]}. Say which number the first frame of the video has there: first_frame_number=0 "
            "(`--first-frame-number 0`) or 1."
        )
    return matched


def _readings(stems: Sequence[str], all_names: Sequence[str]) -> dict[str, list[str]]:
    """Return the frames of all stems by every way to understand their numbers that fits and differs from the others."""
    numbers = [last_number(stem) for stem in stems]
    own: defaultdict[int | None, list[str]] = defaultdict(list)
    for name in all_names:
        own[last_number(name)].append(name)
    readings: dict[str, list[str]] = {}
    candidates: list[tuple[str, Callable[[int], Sequence[str]]]] = [
        ("Their numbers are those of the frames' names", lambda number: own.get(number, [])),
        ("they count frames from 0", lambda number: all_names[number : number + 1]),
        ("they count frames from 1", lambda number: all_names[max(number - 1, 0) : number]),
    ]
    for reading, frames in candidates:
        found = [[] if number is None else frames(number) for number in numbers]
        if all(len(names) == 1 for names in found):
            matched = [names[0] for names in found]
            if matched not in readings.values():
                readings[reading] = matched
    return readings


def _by_counting(stems: Sequence[str], all_names: Sequence[str], first_number: int, what: str) -> list[str]:
    matched = []
    for stem in stems:
        number = last_number(stem)
        if number is None or not 0 <= number - first_number < len(all_names):
            raise MaskError(
                f"`{stem}` among the {what} belongs to no frame: counted from {first_number}, as "
                f"first_frame_number={first_number} (`--first-frame-number {first_number}`) says, the {len(all_names)} "
                f"frames have the numbers {first_number} to {first_number + len(all_names) - 1}."
            )
        matched.append(all_names[number - first_number])
    return matched


def _hint_at_first(stems: Sequence[str], all_names: Sequence[str]) -> str:
    """Point out numbers that count from some other number on."""
    numbers = [number for stem in stems if (number := last_number(stem)) is not None]
    if len(numbers) < len(stems) or max(numbers) - min(numbers) >= len(all_names):
        return ""
    first = min(numbers)
    return (
        f" If their numbers count on from another one, say which the first frame has: first_frame_number={first} "
        f"(`--first-frame-number {first}`) if it is the first of these."
    )


def _hint(stems: Sequence[str], all_names: Sequence[str]) -> str:
    """Point out numbers that count from 1, where the last of them is one too many."""
    numbers = [last_number(stem) for stem in stems]
    if all(number is not None and 1 <= number <= len(all_names) for number in numbers):
        return " If their numbers count frames from 1, say first_frame_number=1 (`--first-frame-number 1`)."
    return ""
