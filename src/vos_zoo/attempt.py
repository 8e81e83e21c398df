"""Changes of a video's memory that happen as a whole or not at all, however little memory the device has left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def restored_on_failure(owner: object) -> Iterator[None]:
    """Put an object's attributes back if what happens inside raises.

    Lists and dictionaries get back what they held, and so do those inside of them. Everything else is shared, so that
    nothing large is copied: tensors that are written in place have to be put back by who writes them.

    Args:
        owner: Any object with attributes.

    Example:
        >>> class Counter:
        ...     counts = []
        >>> counter = Counter()
        >>> counter.counts = [1]
        >>> try:
        ...     with restored_on_failure(counter):
        ...         counter.counts.append(2)
        ...         raise MemoryError
        ... except MemoryError:
        ...     print(counter.counts)
        [1]
    """
    attributes = vars(owner)
    before = _copy(attributes)
    try:
        yield
    except BaseException:
        attributes.clear()
        attributes.update(before)
        raise


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(part) for key, part in value.items()}
    return [_copy(part) for part in value] if type(value) is list else value
