"""Finding the frame that a user means, by its name or its number."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from vos_zoo.errors import MaskError, UsageError

__all__ = ["FrameNames", "some_names"]


class FrameNames:
    """Finds the frame that a name means; leading zeros may differ as long as only one frame can be meant.

    Args:
        names: Names of all frames of a video.

    Example:
        >>> FrameNames(["00005", "00006"]).find("5", "Mask `5.png`")
        '00005'
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._known = set(names)
        self._by_number: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_number[_without_zeros(name)].append(name)

    def find(self, name: str, what: str) -> str | None:
        """Return the name of the frame; None if there is no such frame.

        Args:
            name: What somebody called it.
            what: What messages call the thing that belongs to the frame.

        Raises:
            MaskError: If several frames could be meant.
        """
        names = [name] if name in self._known else self._by_number.get(_without_zeros(name), [])
        if len(names) > 1:
            raise MaskError(f"{what} could belong to frames {some_names(names)}. Name it exactly like one of them.")
        return names[0] if names else None

    def find_key(self, key: object, what: str) -> str:
        """Return the name of the frame that a program means: by its name, or by its number, counted from 0.

        Args:
            key: What the program said.
            what: What messages call the thing that belongs to the frame, such as "A mask".

        Raises:
            MaskError: If there is no such frame, or several could be meant.
            UsageError: If it is neither a number nor a name.
        """
        if isinstance(key, str):
            name = self.find(key, f"{what} for frame {key!r}")
            if name is not None:
                return name
        elif not isinstance(key, (int, np.integer)) or isinstance(key, bool):
            raise UsageError(
                f"{what} is given for frame {key!r}, a {type(key).__name__}. Expected the number of a frame, from 0, "
                "or its name."
            )
        elif 0 <= key < len(self._names):
            return self._names[int(key)]
        raise MaskError(
            f"{what} is given for frame {key!r}, which the video does not have. It has {len(self._names)} frames, "
            f"numbered from 0: {some_names(self._names)}."
        )


def some_names(names: Sequence[str]) -> str:
    """List a few names: the first three, and the last of many."""
    shown = list(names[:3])
    return ", ".join(shown) + (f" … {names[-1]}" if len(names) > len(shown) else "")


def _without_zeros(stem: str) -> str:
    return re.sub(r"[0-9]+", lambda digits: digits[0].lstrip("0") or "0", stem)
