"""Where a bank keeps its rows: one preallocated block for inference, a set of graph tensors for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from vos_zoo.attempt import restored_on_failure
from vos_zoo.errors import ShapeError
from vos_zoo.memory.pages import zeros
from vos_zoo.memory.tokens import MemoryTokens

_FIRST_CAPACITY = 4  # frames that an unbounded block makes room for at its first write


class Rows(NamedTuple):
    """Keys (B, n, Ck), biases (B, n) or None where they are zero, and values (B, n, O · Cv)."""

    keys: Tensor
    bias: Tensor | None
    values: Tensor


class BlockStorage:
    """Keys, biases and values of all slots in one tensor each; a frame is a range of rows.

    Rows of unused slots are zero with bias minus infinity, so a hole between used slots reads as nothing.
    """

    def __init__(self) -> None:
        self._keys = torch.empty(0, 0, 0)  # (B, capacity · h·w, Ck)
        self._bias = torch.empty(0, 0)  # (B, capacity · h·w)
        self._values = torch.empty(0, 0, 0)  # (B, capacity · h·w, O · Cv)
        self._height = 0  # rows of one slot, h · w; 0 before the first write
        self._scale = 1.0
        self._saved: list[tuple[Tensor, Tensor]] | None = None  # parts of blocks and what they held, in an attempt

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return _nbytes(Rows(self._keys, self._bias, self._values))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Put everything back if what happens inside raises, rows that were written over too."""
        saved: list[tuple[Tensor, Tensor]] = []
        try:
            with restored_on_failure(self):
                self._saved = saved
                yield
        except BaseException:
            for part, rows in reversed(saved):
                with torch.no_grad():
                    part.copy_(rows)
            raise
        finally:
            self._saved = None

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one slot; 0 before the first write."""
        return self.nbytes // self._capacity if self._height else 0

    def check(self, keys: Tensor, values: Tensor) -> None:
        """Raise ShapeError unless these rows fit together and fit the rows stored before."""
        stored = None
        if self._height:
            start = (self._keys.shape[0], self._height)
            stored = ((*start, self._keys.shape[2]), (*start, self._values.shape[2]))
        _check_rows(keys, values, stored)

    def put(self, slot: int, rows: Rows, scale: float, bound: int | None) -> None:
        """Copy a frame into a slot, in the types of the first write; ``bound`` is the number of slots to allocate."""
        if slot >= self._capacity:
            height, doubled = rows.keys.shape[1], max(slot + 1, 2 * self._capacity, _FIRST_CAPACITY)
            blocks = _new_blocks(rows.keys, rows.values, height * (doubled if bound is None else bound))
            stored = self._keys.shape[1]
            if stored:
                _fill(blocks, slice(stored), Rows(self._keys, self._bias, self._values))
            self._height, (self._keys, self._bias, self._values) = height, blocks
        else:
            self._save(self._span(slot))
        self._scale = scale
        _fill((self._keys, self._bias, self._values), self._span(slot), rows)

    def clear(self, slot: int) -> None:
        """Take a slot out of every later read."""
        self._save(self._span(slot))
        with torch.no_grad():
            self._bias[:, self._span(slot)] = -torch.inf

    def tokens(self, used: Sequence[int], has_bias: bool) -> MemoryTokens:
        """Return the rows up to the last used slot as views."""
        stop = (used[-1] + 1) * self._height
        has_holes = len(used) != used[-1] + 1
        bias = self._bias[:, :stop] if has_bias or has_holes else None
        return MemoryTokens(self._keys[:, :stop], bias, self._values[:, :stop], self._scale)

    def compact(self, used: Sequence[int], capacity: int) -> None:
        """Move the used slots together, in order, into blocks of ``capacity`` slots."""
        if not self._height:
            return
        old = (self._keys, self._bias, self._values)
        blocks = _new_blocks(self._keys, self._values, self._height * capacity)
        for slot, source in enumerate(used):
            _fill(blocks, self._span(slot), Rows(*(part[:, self._span(source)] for part in old)))
        self._keys, self._bias, self._values = blocks

    def select_columns(self, planes: list[int], objects: int) -> None:
        """Keep the value columns of these objects."""
        if self._height:
            with _plain_tensors():
                self._values = _columns(self._values, planes, objects)

    def select_batch(self, entries: list[int]) -> None:
        """Keep these entries of the batch axis."""
        if self._height:
            with _plain_tensors():
                self._keys, self._bias, self._values = self._keys[entries], self._bias[entries], self._values[entries]

    @property
    def _capacity(self) -> int:
        return self._keys.shape[1] // self._height if self._height else 0

    def _span(self, slot: int) -> slice:
        return slice(slot * self._height, (slot + 1) * self._height)

    def _save(self, span: slice) -> None:
        """Remember rows that are about to be written over, if an attempt may want them back."""
        if self._saved is not None:
            parts = [block[:, span] for block in (self._keys, self._bias, self._values)]
            self._saved += [(part, part.clone()) for part in parts]


class GraphStorage:
    """The same interface for training: tensors stay in the autograd graph, and a read concatenates them."""

    def __init__(self) -> None:
        self._slots: dict[int, Rows] = {}
        self._scale = 1.0

    def attempt(self) -> AbstractContextManager[None]:
        """Put everything back if what happens inside raises."""
        return restored_on_failure(self)

    @property
    def nbytes(self) -> int:
        """Bytes of what is stored."""
        return sum(_nbytes(rows) for rows in self._slots.values())

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one slot; 0 before the first write."""
        return self.nbytes // len(self._slots) if self._slots else 0

    def check(self, keys: Tensor, values: Tensor) -> None:
        """Raise ShapeError unless these rows fit together and fit the rows stored before."""
        stored = next(iter(self._slots.values()), None)
        _check_rows(keys, values, None if stored is None else (tuple(stored.keys.shape), tuple(stored.values.shape)))

    def put(self, slot: int, rows: Rows, scale: float, bound: int | None) -> None:
        """Keep the tensors of a frame; ``bound`` has no meaning here."""
        del bound
        self._scale = scale
        self._slots[slot] = rows

    def clear(self, slot: int) -> None:
        """Take a slot out of every later read."""
        del self._slots[slot]

    def tokens(self, used: Sequence[int], has_bias: bool) -> MemoryTokens:
        """Concatenate the used slots."""
        frames = [self._slots[slot] for slot in used]
        bias = torch.cat([rows.bias for rows in frames if rows.bias is not None], 1) if has_bias else None
        keys, values = torch.cat([rows.keys for rows in frames], 1), torch.cat([rows.values for rows in frames], 1)
        return MemoryTokens(keys, bias, values, self._scale)

    def compact(self, used: Sequence[int], capacity: int) -> None:
        """Move the used slots together, in order; ``capacity`` has no meaning here."""
        del capacity
        self._slots = {slot: self._slots[source] for slot, source in enumerate(used)}

    def select_columns(self, planes: list[int], objects: int) -> None:
        """Keep the value columns of these objects."""
        for slot, rows in self._slots.items():
            self._slots[slot] = rows._replace(values=_columns(rows.values, planes, objects))

    def select_batch(self, entries: list[int]) -> None:
        """Keep these entries of the batch axis."""
        for slot, rows in self._slots.items():
            bias = None if rows.bias is None else rows.bias[entries]
            self._slots[slot] = Rows(rows.keys[entries], bias, rows.values[entries])


def _new_blocks(keys: Tensor, values: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return blocks of ``size`` unused rows like these: keys, biases and values, all of them or none."""
    batch = keys.shape[0]
    bias_type = torch.float64 if keys.dtype == torch.float64 else torch.float32
    with _plain_tensors():
        return (
            zeros((batch, size, keys.shape[2]), keys.dtype, keys.device),
            torch.full((batch, size), -torch.inf, dtype=bias_type, device=keys.device),
            zeros((batch, size, values.shape[2]), values.dtype, values.device),
        )


def _fill(blocks: tuple[Tensor, Tensor, Tensor], span: slice, rows: Rows) -> None:
    keys, bias, values = blocks
    with torch.no_grad():
        keys[:, span] = rows.keys.detach()
        bias[:, span] = 0.0 if rows.bias is None else rows.bias.detach()
        values[:, span] = rows.values.detach()


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Make tensors that may be written both inside and outside of inference mode later."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _columns(values: Tensor, planes: list[int], objects: int) -> Tensor:
    width = values.shape[2] // objects
    return torch.cat([values[:, :, plane * width : (plane + 1) * width] for plane in planes], 2)


def _nbytes(rows: Rows) -> int:
    return sum(part.numel() * part.element_size() for part in rows if part is not None)


def _check_rows(keys: Tensor, values: Tensor, stored: tuple[tuple[int, ...], tuple[int, ...]] | None) -> None:
    got = f"keys {tuple(keys.shape)} and values {tuple(values.shape)}"
    if keys.ndim != 3 or values.ndim != 3 or keys.shape[:2] != values.shape[:2] or not keys.shape[1]:
        raise ShapeError(
            f"The memory bank got {got}. Expected (B, h·w, Ck) and (B, h·w, O·Cv) with equal B and h·w. "
            "Flatten the maps row by row and put their channels last."
        )
    if stored is not None and (tuple(keys.shape), tuple(values.shape)) != stored:
        raise ShapeError(
            f"The memory bank got {got}, but holds frames with keys {stored[0]} and values {stored[1]}. All frames of "
            "a bank have one size and the same objects. Start a new bank for another resolution or group of objects."
        )
