"""Where a bank keeps its rows: one preallocated block for inference, a list of graph tensors for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vos_zoo.errors import ShapeError
from vos_zoo.memory.tokens import MemoryTokens

_FIRST_CAPACITY = 4  # frames that an unbounded block makes room for at its first write


class BlockStorage:
    """Keys, biases and values of all slots in three tensors; a frame is a range of rows.

    Rows of unused slots are zero with bias minus infinity, so a hole between used slots reads as nothing.
    """

    def __init__(self) -> None:
        self._keys: Tensor | None = None  # (B, capacity · h·w, Ck)
        self._bias: Tensor | None = None  # (B, capacity · h·w)
        self._values: Tensor | None = None  # (B, capacity · h·w, O · Cv)
        self._rows = 0  # h · w
        self._scale = 1.0

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(part.numel() * part.element_size() for part in self._parts())

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one slot; 0 before the first write."""
        return self.nbytes // self._capacity if self._capacity else 0

    def check(self, keys: Tensor, values: Tensor) -> None:
        """Raise ShapeError unless these rows fit together and fit the rows stored before."""
        if self._keys is None or self._values is None:
            _check_rows(keys, values, None)
        else:
            batch, rows = self._keys.shape[0], self._rows
            _check_rows(keys, values, ((batch, rows, self._keys.shape[2]), (batch, rows, self._values.shape[2])))

    def put(
        self, slot: int, keys: Tensor, bias: Tensor | None, values: Tensor, scale: float, bound: int | None
    ) -> None:
        """Copy rows into a slot, in the types of the first write; ``bound`` is the number of slots to allocate."""
        self._rows, self._scale = keys.shape[1], scale
        if slot >= self._capacity:
            doubled = max(slot + 1, 2 * self._capacity, _FIRST_CAPACITY)
            self._allocate(keys, values, doubled if bound is None else bound)
        rows = slice(slot * self._rows, (slot + 1) * self._rows)
        assert self._keys is not None and self._bias is not None and self._values is not None
        with torch.no_grad():
            self._keys[:, rows] = keys.detach()
            self._bias[:, rows] = 0.0 if bias is None else bias.detach()
            self._values[:, rows] = values.detach()

    def get(self, slot: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of a slot as views."""
        assert self._keys is not None and self._values is not None
        rows = slice(slot * self._rows, (slot + 1) * self._rows)
        return self._keys[:, rows], self._values[:, rows]

    def clear(self, slot: int) -> None:
        """Take a slot out of every later read."""
        assert self._bias is not None
        with torch.no_grad():
            self._bias[:, slot * self._rows : (slot + 1) * self._rows] = -torch.inf

    def tokens(self, used: Sequence[int], has_bias: bool) -> MemoryTokens:
        """Return the rows up to the last used slot as views."""
        assert self._keys is not None and self._bias is not None and self._values is not None
        stop = (used[-1] + 1) * self._rows
        has_holes = len(used) != used[-1] + 1
        bias = self._bias[:, :stop] if has_bias or has_holes else None
        return MemoryTokens(self._keys[:, :stop], bias, self._values[:, :stop], self._scale)

    def compact(self, used: Sequence[int], capacity: int) -> None:
        """Move the used slots together, in order, into a block of ``capacity`` slots."""
        if self._keys is None or self._bias is None or self._values is None:
            return
        old_keys, old_bias, old_values, rows = self._keys, self._bias, self._values, self._rows
        self._keys = None
        self._allocate(old_keys, old_values, capacity)
        with torch.no_grad():
            for slot, source in enumerate(used):
                target, origin = slice(slot * rows, (slot + 1) * rows), slice(source * rows, (source + 1) * rows)
                self._keys[:, target], self._bias[:, target] = old_keys[:, origin], old_bias[:, origin]
                self._values[:, target] = old_values[:, origin]

    def select_columns(self, planes: list[int], objects: int) -> None:
        """Keep the value columns of these objects."""
        if self._values is not None:
            self._values = _columns(self._values, planes, objects)

    def select_batch(self, rows: list[int]) -> None:
        """Keep these entries of the batch axis."""
        if self._keys is not None and self._bias is not None and self._values is not None:
            self._keys, self._bias, self._values = self._keys[rows], self._bias[rows], self._values[rows]

    @property
    def _capacity(self) -> int:
        return self._keys.shape[1] // self._rows if self._keys is not None else 0

    def _parts(self) -> list[Tensor]:
        return [part for part in (self._keys, self._bias, self._values) if part is not None]

    def _allocate(self, keys: Tensor, values: Tensor, capacity: int) -> None:
        """Make room for ``capacity`` slots shaped like these rows and move what is there."""
        batch, size = keys.shape[0], capacity * self._rows
        bias_type = torch.float64 if keys.dtype == torch.float64 else torch.float32
        # Leaving inference mode here gives ordinary tensors, which may be written in either mode later.
        with torch.inference_mode(False), torch.no_grad():
            old = (self._keys, self._bias, self._values) if self._keys is not None else None
            self._keys = torch.zeros(batch, size, keys.shape[2], dtype=keys.dtype, device=keys.device)
            self._bias = torch.full((batch, size), -torch.inf, dtype=bias_type, device=keys.device)
            self._values = torch.zeros(batch, size, values.shape[2], dtype=values.dtype, device=values.device)
            if old is not None:
                for new, part in zip((self._keys, self._bias, self._values), old, strict=True):
                    assert part is not None
                    new[:, : part.shape[1]] = part


class GraphStorage:
    """The same interface for training: tensors stay in the autograd graph, and a read concatenates them."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[Tensor, Tensor | None, Tensor]] = {}
        self._scale = 1.0

    @property
    def nbytes(self) -> int:
        """Bytes of what is stored."""
        return sum(
            part.numel() * part.element_size() for slot in self._slots.values() for part in slot if part is not None
        )

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one slot; 0 before the first write."""
        return self.nbytes // len(self._slots) if self._slots else 0

    def check(self, keys: Tensor, values: Tensor) -> None:
        """Raise ShapeError unless these rows fit together and fit the rows stored before."""
        stored = next(iter(self._slots.values()), None)
        _check_rows(keys, values, None if stored is None else (tuple(stored[0].shape), tuple(stored[2].shape)))

    def put(
        self, slot: int, keys: Tensor, bias: Tensor | None, values: Tensor, scale: float, bound: int | None
    ) -> None:
        """Keep the tensors of a slot; ``bound`` has no meaning here."""
        del bound
        self._scale = scale
        self._slots[slot] = (keys, bias, values)

    def get(self, slot: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of a slot."""
        keys, _, values = self._slots[slot]
        return keys, values

    def clear(self, slot: int) -> None:
        """Take a slot out of every later read."""
        del self._slots[slot]

    def tokens(self, used: Sequence[int], has_bias: bool) -> MemoryTokens:
        """Concatenate the used slots."""
        keys, biases, values = zip(*(self._slots[slot] for slot in used), strict=True)
        bias = torch.cat([part for part in biases if part is not None], 1) if has_bias else None
        return MemoryTokens(torch.cat(keys, 1), bias, torch.cat(values, 1), self._scale)

    def compact(self, used: Sequence[int], capacity: int) -> None:
        """Move the used slots together, in order; ``capacity`` has no meaning here."""
        del capacity
        self._slots = {slot: self._slots[source] for slot, source in enumerate(used)}

    def select_columns(self, planes: list[int], objects: int) -> None:
        """Keep the value columns of these objects."""
        self._slots = {
            slot: (keys, bias, _columns(values, planes, objects)) for slot, (keys, bias, values) in self._slots.items()
        }

    def select_batch(self, rows: list[int]) -> None:
        """Keep these entries of the batch axis."""
        self._slots = {
            slot: (keys[rows], None if bias is None else bias[rows], values[rows])
            for slot, (keys, bias, values) in self._slots.items()
        }


def _columns(values: Tensor, planes: list[int], objects: int) -> Tensor:
    return values.unflatten(2, (objects, -1))[:, :, planes].flatten(2)


def _check_rows(keys: Tensor, values: Tensor, stored: tuple[tuple[int, ...], tuple[int, ...]] | None) -> None:
    got = f"keys {tuple(keys.shape)} and values {tuple(values.shape)}"
    if keys.ndim != 3 or values.ndim != 3 or keys.shape[:2] != values.shape[:2]:
        raise ShapeError(
            f"The memory bank got {got}. Expected (B, h·w, Ck) and (B, h·w, O·Cv) with equal B and h·w. "
            "Flatten the maps row by row and put their channels last."
        )
    if stored is not None and (tuple(keys.shape), tuple(values.shape)) != stored:
        raise ShapeError(
            f"The memory bank got {got}, but holds frames with keys {stored[0]} and values {stored[1]}. All frames of a "
            "bank have one size and the same objects. Start a new bank for another resolution or group of objects."
        )
