"""RDE's constant memory: an aggregated slot, the latest memorised frame and the reference frame."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from vos_zoo.attempt import restored_on_failure
from vos_zoo.errors import ConfigError
from vos_zoo.memory import MemoryBank, MemoryTokens, similarity_terms
from vos_zoo.models.grouped_memory import MatchingMemory, ObjectGroup
from vos_zoo.network import MemoryPolicy

from .config import MEMORY_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from vos_zoo.memory import Similarity

    from .config import MemoryEntry


@dataclass(frozen=True)
class RDEPolicy(MemoryPolicy):
    """A memory policy that also says which memories are read (paper, Table 5).

    Args:
        entries: With multiplicity: ``all`` memorised frames, the ``first`` (reference) frame, the ``latest`` memorised
            frame, or the aggregated slot ``rde``.

    Raises:
        ConfigError: If a number is not positive or an entry is unknown.
    """

    entries: tuple[MemoryEntry, ...] = ("all",)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [entry for entry in self.entries if entry not in MEMORY_ENTRIES]
        if unknown or not self.entries:
            raise ConfigError(
                f"Memory policy has entries={self.entries!r}. Expected one or more of {', '.join(MEMORY_ENTRIES)}."
            )


def stored_frames(entries: tuple[MemoryEntry, ...]) -> tuple[int, int]:
    """Return how many frames a bank stores: a constant number, and how many for each frame of the growing part.

    Example:
        >>> stored_frames(("rde", "latest", "first", "first"))  # three slots and the four entries side by side
        (7, 0)
    """
    if entries == ("all",):
        return 2, 1  # the reference and the latest frame beside the growing part
    if "all" in entries:
        return 3 + len(entries) - entries.count("all"), 1 + entries.count("all")
    return 3 + len(entries), 0


class AggregateFrame(Protocol):
    """Folds a frame into the aggregated slot."""

    def __call__(self, slot: FrameTokens, frame: FrameTokens, *, objects: int) -> FrameTokens:
        """Return the next slot."""


@dataclass(frozen=True)
class FrameTokens:
    """One frame's keys (B, hw, Ck) and values (B, hw, O*Cv), and the height and width of its grid."""

    keys: Tensor
    values: Tensor
    grid: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return sum(part.numel() * part.element_size() for part in (self.keys, self.values))


class RecurrentBank:
    """Slots of one group of objects.

    The first write sets the aggregated slot and the reference frame and leaves the latest frame empty. Every later
    write folds the frame into the aggregated slot and makes it the latest frame. Composition of a read before the
    second write: the reference frame counts once however often it is listed, the latest frame is left out, and the
    aggregated slot is the reference frame itself.

    Args:
        entries: Which memories are read, unless a read names others.
        grid: Height and width of the frames' feature grid.
        max_frames: Bound of the growing part, which exists only for the entry ``all``.
        num_objects: Objects side by side in the values.
        aggregate: The network's aggregation module.
        similarity: Measure of the read.
        differentiable: Whether the graph is kept, as in training.
    """

    def __init__(
        self,
        aggregate: AggregateFrame,
        *,
        entries: tuple[MemoryEntry, ...],
        grid: tuple[int, int],
        differentiable: bool,
        max_frames: int | None,
        num_objects: int,
        similarity: Similarity,
    ) -> None:
        self._entries = entries
        self._grid = grid
        self._aggregate = aggregate
        self._similarity: Similarity = similarity
        self._objects = num_objects
        self._aggregated: FrameTokens | None = None
        self._latest: FrameTokens | None = None
        self._first: FrameTokens | None = None
        self._all = (
            MemoryBank(
                max_frames=max_frames,
                similarity=similarity,
                num_objects=num_objects,
                differentiable=differentiable,
            )
            if "all" in entries
            else None
        )
        self._cached: dict[tuple[MemoryEntry, ...], MemoryTokens] = {}

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Put everything back if what happens inside raises; slots are replaced, never written to."""
        with restored_on_failure(self), nullcontext() if self._all is None else self._all.attempt():
            yield

    @property
    def num_frames(self) -> int:
        """Frames that a read sees, with multiplicity."""
        if self._first is None:
            return 0
        tokens = sum(part.keys.shape[1] for part in self._composition(self._entries))
        return tokens // self._first.keys.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the slots, the growing part and the stacked tokens."""
        slots = {id(slot): slot.nbytes for slot in (self._aggregated, self._latest, self._first) if slot is not None}
        stacked = sum(
            part.numel() * part.element_size()
            for tokens in self._cached.values()
            for part in (tokens.keys, tokens.bias, tokens.values)
            if part is not None
        )
        return sum(slots.values()) + stacked + (self._all.nbytes if self._all is not None else 0)

    def write(
        self, keys: Tensor, values: Tensor, *, frame: int, reference: bool = False, temporary: bool = False
    ) -> None:
        """Memorise a frame; a reference frame also becomes the group's first frame."""
        self._cached.clear()
        current = FrameTokens(keys, values, self._grid)
        if self._first is None or self._aggregated is None:
            self._aggregated = self._first = current
        else:
            if "rde" in self._entries:
                self._aggregated = self._aggregate(self._aggregated, current, objects=self._objects)
            self._latest = current
            if reference:
                self._first = current
        if self._all is not None:
            self._all.write(keys, values, frame=frame, reference=reference, temporary=temporary)

    def tokens(self, entries: tuple[MemoryEntry, ...] | None = None) -> MemoryTokens:
        """Return what a read sees, in the order of the entries.

        Args:
            entries: Which memories; None means those that the bank was made for.
        """
        entries = self._entries if entries is None else entries
        if entries == ("all",) and self._all is not None:
            return self._all.tokens()
        if entries not in self._cached:
            parts = self._composition(entries)
            keys = torch.cat([part.keys for part in parts], dim=1)
            scale, bias = similarity_terms(keys, self._similarity)
            self._cached[entries] = MemoryTokens(keys, bias, torch.cat([part.values for part in parts], dim=1), scale)
        return self._cached[entries]

    def resize(self, max_frames: int | None) -> None:
        """Bound the growing part; the slots are constant."""
        if self._all is not None:
            self._all.resize(max_frames)

    def select_objects(self, planes: Sequence[int]) -> None:
        """Keep the values of these objects only."""
        self._cached.clear()
        self._aggregated, self._latest, self._first = (
            self._columns(slot, planes) for slot in (self._aggregated, self._latest, self._first)
        )
        if self._all is not None:
            self._all.select_objects(planes)
        self._objects = len(planes)

    def select_batch(self, rows: Sequence[int]) -> None:
        """Keep these entries of the batch axis only."""
        self._cached.clear()
        self._aggregated, self._latest, self._first = (
            None if slot is None else FrameTokens(slot.keys[list(rows)], slot.values[list(rows)], slot.grid)
            for slot in (self._aggregated, self._latest, self._first)
        )
        if self._all is not None:
            self._all.select_batch(rows)

    def adopt(self, other: RecurrentBank, planes: Sequence[int]) -> None:
        """Take over the slots of some objects of another bank."""
        self._aggregated, self._latest, self._first = (
            other._columns(slot, planes) for slot in (other._aggregated, other._latest, other._first)
        )

    def _columns(self, slot: FrameTokens | None, planes: Sequence[int]) -> FrameTokens | None:
        if slot is None:
            return None
        per_object = slot.values.unflatten(2, (self._objects, -1))
        return FrameTokens(slot.keys, per_object[:, :, list(planes)].flatten(2), slot.grid)

    def _composition(self, entries: tuple[MemoryEntry, ...]) -> list[FrameTokens]:
        if self._first is None or self._aggregated is None:
            return []
        is_fresh = self._latest is None
        parts: list[FrameTokens] = []
        for position, entry in enumerate(entries):
            if entry == "rde":
                parts.append(self._aggregated)
            elif entry == "latest" and self._latest is not None:
                parts.append(self._latest)
            elif entry == "first" and not (is_fresh and "first" in entries[:position]):
                parts.append(self._first)
            elif entry == "all" and self._all is not None:
                stored = self._all.tokens()
                parts.append(FrameTokens(stored.keys, stored.values, self._grid))
        return parts or [self._first]


class RDEMemory(MatchingMemory):
    """Memory of one clip for RDE-VOS.

    A corrected object leaves its group: its reference frame becomes the corrected one, while its companions keep
    theirs.

    Args:
        policy: Entries and interval.
        aggregate: The network's aggregation module.
        similarity: Measure of the read.
        differentiable: Whether the graph is kept, as in training.
    """

    policy: RDEPolicy

    def __init__(
        self, policy: RDEPolicy, aggregate: AggregateFrame, *, similarity: Similarity, differentiable: bool
    ) -> None:
        super().__init__(policy, self._make_bank, differentiable=differentiable)
        self.grid = (0, 0)
        self.read_entries = policy.entries
        self._aggregate_frame = aggregate
        self._similarity: Similarity = similarity

    @contextmanager
    def reading(self, entries: tuple[MemoryEntry, ...]) -> Iterator[None]:
        """Read other entries than the policy's for a while, as RDE's training does."""
        self.read_entries = entries
        try:
            yield
        finally:
            self.read_entries = self.policy.entries

    def _slots(self) -> tuple[int, int]:
        return stored_frames(self.policy.entries)

    def _make_bank(self, *, max_frames: int | None, num_objects: int) -> RecurrentBank:
        return RecurrentBank(
            self._aggregate_frame,
            entries=self.policy.entries,
            grid=self.grid,
            max_frames=max_frames,
            num_objects=num_objects,
            similarity=self._similarity,
            differentiable=self.differentiable,
        )

    def _tokens(self, group: ObjectGroup) -> MemoryTokens:
        assert isinstance(group.bank, RecurrentBank)
        return group.bank.tokens(self.read_entries)

    def _regroup(self, reference: frozenset[int]) -> None:
        if "all" in self.policy.entries:
            return  # a growing bank keeps every reference frame; nobody loses one
        for place, group in enumerate(list(self.groups)):
            corrected = [index for index, plane in enumerate(group.planes) if plane in reference]
            if not corrected or len(corrected) == len(group.planes):
                continue
            assert isinstance(group.bank, RecurrentBank)
            kept = [index for index in range(len(group.planes)) if index not in corrected]
            bank = self._make_bank(max_frames=self.policy.max_frames, num_objects=len(corrected))
            bank.adopt(group.bank, corrected)
            planes = [group.planes[index] for index in corrected]
            self.groups.append(ObjectGroup(planes, bank, group.shared_bytes, group.object_bytes))
            group.bank.select_objects(kept)
            self.groups[place] = replace(group, planes=[group.planes[index] for index in kept])
