"""What is wrong with a data root: found by the readers of each layout, raised by data modules, listed by the check."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

from vos_zoo.errors import DataError

_SHOWN = 10
_logger = logging.getLogger(__name__)


class Problem(NamedTuple):
    """One thing that is wrong with a data root.

    Attributes:
        place: File or folder, relative to the root; empty for the root itself.
        text: What was found, what was expected, what to do.
        is_fatal: Whether the data cannot be used; otherwise what is wrong is left out.
    """

    place: str
    text: str
    is_fatal: bool = False

    def __str__(self) -> str:
        """Return place and text in one line."""
        return f"{self.place}: {self.text}" if self.place else self.text


def refuse_fatal(root: str | os.PathLike[str], problems: Sequence[Problem], data_format: str) -> None:
    """Raise what makes a root unusable, all of it at once; log how much of the rest is left out.

    Args:
        root: The data root, for messages.
        problems: What was found.
        data_format: Name of its layout in ``vos-zoo data check``.

    Raises:
        DataError: If one of the problems is fatal.
    """
    check = f"`vos-zoo data check {os.fspath(root)} --format {data_format}`"
    fatal = [str(problem) for problem in problems if problem.is_fatal]
    if fatal:
        more = f"\n- … and {len(fatal) - _SHOWN} more ({check} lists all)" if len(fatal) > _SHOWN else ""
        lines = "".join(f"\n- {line}" for line in fatal[:_SHOWN])
        raise DataError(f"Data root {os.fspath(root)!r} cannot be used:{lines}{more}")
    if problems:
        _logger.warning(
            "%d problems in data root %r; what they concern is left out. The first: %s (%s lists all.)",
            len(problems), os.fspath(root), problems[0], check,
        )  # fmt: skip
