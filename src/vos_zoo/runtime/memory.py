"""What a session remembers of groups of objects: the state of the verb ``memorize``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.kept_frames import StoredFrame, place_frame
from vos_zoo.runtime.manifest import NEXT, STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vos_zoo.runtime.graphs import Graphs
    from vos_zoo.runtime.manifest import Array, MemoryRules

    Arrays = dict[str, NDArray[np.float32]]

__all__ = ["Group", "GroupState", "new_state"]


class GroupState(ABC):
    """State of one group of objects; what changes it returns another one, so that a failure leaves no trace."""

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Frames that it remembers one by one, or 1."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of all arrays."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """Return the values that graphs take, by the names of their inputs."""

    @abstractmethod
    def after(self, results: dict[str, Any], *, frame: int, reference: bool, temporary: bool) -> GroupState:
        """Return the state after a frame.

        Args:
            results: What ``memorize`` gave.
            frame: Time index.
            reference: Whether a user annotated one of the objects on it.
            temporary: Whether the next frame takes its place.
        """

    def commit(self) -> None:  # noqa: B027 - most states have nothing to write
        """Write what :meth:`after` left to write, which cannot fail; the state before is lost."""

    @abstractmethod
    def save(self) -> tuple[Arrays, tuple[tuple[int, bool, bool], ...]]:
        """Return the arrays, and what is noted of each remembered frame."""

    @abstractmethod
    def load(self, arrays: Arrays, slots: Sequence[tuple[int, bool, bool]]) -> GroupState:
        """Return the state of arrays that :meth:`save` gave."""

    @abstractmethod
    def select(self, objects: Sequence[int]) -> GroupState:
        """Return the state of some of the objects; graphs of a fixed number of objects get empty ones beside them."""


class Group:
    """Objects that share a state.

    Args:
        planes: The objects' planes, ascending.
        state: Their state.
    """

    def __init__(self, planes: list[int], state: GroupState) -> None:
        self.planes = planes
        self.state = state


def new_state(
    rules: MemoryRules, shape_of: Callable[[Array], tuple[int, ...]], graphs: Graphs, fixed_objects: int | None
) -> GroupState:
    """Return the state of objects that were never memorised.

    Args:
        rules: Of the memory.
        shape_of: Gives an array's shape.
        graphs: What makes values of arrays.
        fixed_objects: The one number of objects that graphs take; None for any.
    """
    if rules.kind == "frames":
        return _Frames(rules, graphs, fixed_objects)
    arrays = {array.name: np.zeros(shape_of(array), np.float32) for array in rules.state}
    return _Recurrent.of(rules, graphs, fixed_objects, arrays)


class _Recurrent(GroupState):
    """Arrays that ``memorize`` maps to the next ones; they stay where the graphs run."""

    def __init__(
        self, rules: MemoryRules, graphs: Graphs, fixed_objects: int | None, values: dict[str, Any], nbytes: int
    ) -> None:
        self._rules = rules
        self._graphs = graphs
        self._fixed = fixed_objects
        self._values = values
        self._nbytes = nbytes

    @classmethod
    def of(cls, rules: MemoryRules, graphs: Graphs, fixed_objects: int | None, arrays: Arrays) -> _Recurrent:
        values = {f"{STATE}{name}": graphs.to_value(part) for name, part in arrays.items()}
        return cls(rules, graphs, fixed_objects, values, sum(part.nbytes for part in arrays.values()))

    @property
    def num_frames(self) -> int:
        return 1

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def values(self) -> dict[str, Any]:
        return self._values

    def after(self, results: dict[str, Any], *, frame: int, reference: bool, temporary: bool) -> GroupState:
        values = {f"{STATE}{array.name}": results[f"{NEXT}{array.name}"] for array in self._rules.state}
        return _Recurrent(self._rules, self._graphs, self._fixed, values, self._nbytes)

    def save(self) -> tuple[Arrays, tuple[tuple[int, bool, bool], ...]]:
        values = {array.name: self._values[f"{STATE}{array.name}"] for array in self._rules.state}
        return {name: self._graphs.to_array(value) for name, value in values.items()}, ()

    def load(self, arrays: Arrays, slots: Sequence[tuple[int, bool, bool]]) -> GroupState:
        return self.of(self._rules, self._graphs, self._fixed, arrays)

    def select(self, objects: Sequence[int]) -> GroupState:
        arrays = {
            array.name: _select(
                self._graphs.to_array(self._values[f"{STATE}{array.name}"]), array, objects, self._fixed
            )
            for array in self._rules.state
        }
        return self.of(self._rules, self._graphs, self._fixed, arrays)


class _Frames(GroupState):
    """Arrays of remembered frames side by side."""

    def __init__(
        self,
        rules: MemoryRules,
        graphs: Graphs,
        fixed_objects: int | None,
        slots: tuple[StoredFrame | None, ...] = (),
        arrays: Arrays | None = None,
    ) -> None:
        self._rules = rules
        self._graphs = graphs
        self._fixed = fixed_objects
        self._slots = slots
        self._arrays = arrays or {}  # (capacity, ...), shared with the state before
        self._pending: tuple[int, Arrays] | None = None

    @property
    def num_frames(self) -> int:
        return sum(stored is not None for stored in self._slots)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._arrays.values())

    def values(self) -> dict[str, Any]:
        used = [index for index, stored in enumerate(self._slots) if stored is not None]
        rows: Any = slice(len(used)) if used == list(range(len(used))) else used
        return {f"{STATE}{name}": self._graphs.to_value(part[rows]) for name, part in self._arrays.items()}

    def after(self, results: dict[str, Any], *, frame: int, reference: bool, temporary: bool) -> GroupState:
        placement = place_frame(
            self._slots, frame, reference=reference, temporary=temporary, max_frames=self._rules.max_frames
        )
        slots = [None if index in placement.released else stored for index, stored in enumerate(self._slots)]
        arrays, pending = self._arrays, None
        if placement.slot is not None:
            slots += [None] * (placement.slot + 1 - len(slots))
            slots[placement.slot] = placement.stored
            new = {array.name: self._graphs.to_array(results[f"{NEXT}{array.name}"]) for array in self._rules.state}
            arrays = {name: self._with_room(name, part, len(slots)) for name, part in new.items()}
            pending = placement.slot, new
        result = _Frames(self._rules, self._graphs, self._fixed, tuple(slots), arrays)
        result._pending = pending
        return result

    def commit(self) -> None:
        if self._pending is not None:
            slot, new = self._pending
            for name, part in new.items():
                self._arrays[name][slot] = part
            self._pending = None

    def save(self) -> tuple[Arrays, tuple[tuple[int, bool, bool], ...]]:
        used = [index for index, stored in enumerate(self._slots) if stored is not None]
        notes = [stored for stored in self._slots if stored is not None]
        slots = tuple((stored.frame, stored.is_reference, stored.is_temporary) for stored in notes)
        return {name: part[used] for name, part in self._arrays.items()}, slots

    def load(self, arrays: Arrays, slots: Sequence[tuple[int, bool, bool]]) -> GroupState:
        stored = tuple(StoredFrame(*slot) for slot in slots)
        return _Frames(self._rules, self._graphs, self._fixed, stored, dict(arrays))

    def select(self, objects: Sequence[int]) -> GroupState:
        arrays = {
            array.name: _select(self._arrays[array.name], array, objects, self._fixed)
            for array in self._rules.state
            if array.name in self._arrays
        }
        return _Frames(self._rules, self._graphs, self._fixed, self._slots, arrays)

    def _with_room(self, name: str, frame: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
        held = self._arrays.get(name)
        if held is not None and len(held) >= frames:
            return held
        capacity = 2 * frames if self._rules.max_frames is None else min(2 * frames, self._rules.max_frames)
        room = np.empty((max(capacity, frames), *frame.shape), np.float32)
        if held is not None:
            room[: len(held)] = held
        return room


def _select(part: NDArray[np.float32], array: Array, objects: Sequence[int], fixed: int | None) -> NDArray[np.float32]:
    """Keep some objects, and fill up with zeros to a fixed number."""
    axis = array.axis("objects")
    return part if axis is None else fill_up(part.take(list(objects), axis), axis, fixed)


def fill_up(part: NDArray[np.float32], axis: int, fixed: int | None) -> NDArray[np.float32]:
    """Add zeros at the end of an axis up to a fixed number of entries; None leaves it as it is."""
    if fixed is None or part.shape[axis] == fixed:
        return part
    widths = [(0, 0)] * part.ndim
    widths[axis] = (0, fixed - part.shape[axis])
    return np.pad(part, widths)
