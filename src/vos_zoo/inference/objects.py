"""The user's object ids and the network's planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ObjectIds:
    """Which plane holds which object; ids are whole numbers from 1 on, planes are 0, 1, … in order of arrival.

    Example:
        >>> objects = ObjectIds()
        >>> objects.add([7, 300])
        >>> objects.planes([300])
        [1]
    """

    def __init__(self) -> None:
        self._ids: list[int] = []

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._ids

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids in the order of their planes."""
        return tuple(self._ids)

    def add(self, ids: Iterable[int]) -> None:
        """Give planes to ids that have none; background 0 never gets one."""
        self._ids.extend(object_id for object_id in ids if object_id != 0 and object_id not in self._ids)

    def remove(self, object_id: int) -> int:
        """Free an object's plane and return it; later planes move down by one.

        Raises:
            MaskError: If the id is unknown.
        """
        if object_id not in self._ids:
            raise MaskError(f"Object {object_id} is not tracked. Tracked objects: {list(self._ids)}.")
        plane = self._ids.index(object_id)
        self._ids.remove(object_id)
        return plane

    def planes(self, ids: Iterable[int]) -> list[int]:
        """Return the planes of ids."""
        return [self._ids.index(object_id) for object_id in ids]


def id_type(ids: Iterable[int]) -> np.dtype[Any]:
    """Choose the type of masks that hold these ids: uint8, uint16 or int32, the first that fits.

    Example:
        >>> [id_type(ids).name for ids in ([], [255], [256], [65536])]
        ['uint8', 'uint8', 'uint16', 'int32']
    """
    highest = max(ids, default=0)
    return next((np.dtype(kind) for kind in (np.uint8, np.uint16) if highest <= np.iinfo(kind).max), np.dtype(np.int32))
