"""The remembered frames of one video: which are kept, which give way, and one view of them for the memory read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from vos_zoo.attempt import restored_on_failure
from vos_zoo.errors import ConfigError, EmptyMemoryError, ShapeError
from vos_zoo.kept_frames import StoredFrame, least_missed, place_frame
from vos_zoo.memory.storage import BlockStorage, GraphStorage, Rows
from vos_zoo.memory.tokens import MemoryTokens, Similarity, similarity_terms


class MemoryBank:
    """Whole remembered frames of one group of objects, laid out so that a read needs no copy.

    Each frame owns one *slot* of h · w rows. A bounded bank allocates once, at the first write, and overwrites slots in
    place; an unbounded one doubles. When a bounded bank is full, the frame goes whose removal leaves the most even gaps
    in time; annotated frames and the newest one stay. Only when annotated frames alone exceed the bound are they
    thinned too, between the first and the newest. When they fill the bank exactly, other frames are not stored.

    Args:
        max_frames: Most frames held at once, temporary ones included; None for no bound.
        similarity: Measure for which biases are kept, see :func:`vos_zoo.memory.similarity_terms`.
        scale: Replaces the measure's default factor.
        num_objects: Objects whose values lie side by side in a row.
        differentiable: Keep frames connected to the autograd graph, for training. Such a bank concatenates on read.
            The others detach what they store.

    Raises:
        ConfigError: If ``max_frames`` or ``num_objects`` is below one.

    Example:
        >>> import torch
        >>> bank = MemoryBank(max_frames=2, num_objects=3)
        >>> for t in range(4):
        ...     slot = bank.write(torch.zeros(1, 6, 8), torch.zeros(1, 6, 3 * 16), frame=t, reference=t == 0)
        >>> [stored.frame for stored in bank.frames], bank.tokens().values.shape
        ([0, 3], torch.Size([1, 12, 48]))
    """

    def __init__(
        self,
        *,
        max_frames: int | None = None,
        similarity: Similarity = "l2",
        scale: float | None = None,
        num_objects: int = 1,
        differentiable: bool = False,
    ) -> None:
        _check_bound(max_frames)
        if num_objects < 1:
            raise ConfigError(f"num_objects is {num_objects}. Expected at least 1. Make a bank once objects exist.")
        self._max_frames = max_frames
        self._similarity: Similarity = similarity
        self._scale = scale
        self._num_objects = num_objects
        self._storage: BlockStorage | GraphStorage = GraphStorage() if differentiable else BlockStorage()
        self._slots: list[StoredFrame | None] = []

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Put the bank back to what it was if what happens inside raises, for lack of memory for example."""
        with restored_on_failure(self), self._storage.attempt():
            yield

    @property
    def max_frames(self) -> int | None:
        """Most frames held at once; None for no bound."""
        return self._max_frames

    @property
    def num_frames(self) -> int:
        """Frames held now."""
        return len(self.frames)

    @property
    def num_objects(self) -> int:
        """Objects whose values lie side by side in a row."""
        return self._num_objects

    @property
    def frames(self) -> tuple[StoredFrame, ...]:
        """What is held, in the order of the tokens."""
        return tuple(stored for stored in self._slots if stored is not None)

    @property
    def nbytes(self) -> int:
        """Bytes allocated for keys, biases and values, used or not."""
        return self._storage.nbytes

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one frame's keys, biases and values; 0 before the first write."""
        return self._storage.bytes_per_frame

    def write(
        self, keys: Tensor, values: Tensor, *, frame: int, reference: bool = False, temporary: bool = False
    ) -> int | None:
        """Remember a frame; a temporary frame and an older version of the same frame give way to it.

        Args:
            keys: Shape (B, h·w, Ck).
            values: Shape (B, h·w, O·Cv).
            frame: Time index, by which frames are thinned.
            reference: Whether the user annotated this frame. A frame once annotated stays so.
            temporary: Whether the next write replaces it.

        Returns:
            The slot written to, or None if annotated frames fill the bank and this one is not annotated.

        Raises:
            ShapeError: If the rows differ from each other or from those of earlier frames.
        """
        self._check(keys, values)
        placement = place_frame(
            self._slots, frame, reference=reference, temporary=temporary, max_frames=self._max_frames
        )
        for index in placement.released:
            self._release(index)
        if placement.slot is not None:
            self._put(placement.slot, keys, values, placement.stored)
        return placement.slot

    def tokens(self) -> MemoryTokens:
        """Return all that is held, as a view (differentiable banks: concatenated).

        Raises:
            EmptyMemoryError: If nothing was written yet.
        """
        used = [index for index, stored in enumerate(self._slots) if stored is not None]
        if not used:
            raise EmptyMemoryError("The memory bank holds no frame. Memorise the annotated frame before reading.")
        return self._storage.tokens(used, has_bias=self._similarity == "l2")

    def resize(self, max_frames: int | None) -> None:
        """Change the bound; frames that no longer fit are thinned as on writing, and their storage is released.

        Raises:
            ConfigError: If the bound is below one.
        """
        _check_bound(max_frames)
        slots = list(self._slots)
        while max_frames is not None and len(held := [stored for stored in slots if stored is not None]) > max_frames:
            newest = max(held, key=lambda stored: stored.frame)
            slots[slots.index(least_missed([stored for stored in held if stored is not newest], newest))] = None
        used = [index for index, stored in enumerate(slots) if stored is not None]
        # First what may fail for lack of memory.
        self._storage.compact(used, max(len(used), 1) if max_frames is None else max_frames)
        self._slots = [slots[index] for index in used]
        self._max_frames = max_frames

    def select_objects(self, planes: Sequence[int]) -> None:
        """Keep the values of these objects only, in this order.

        Args:
            planes: Positions among the objects, from 0.

        Raises:
            ConfigError: If a plane does not exist or none is left.
        """
        if not planes or not all(0 <= plane < self._num_objects for plane in planes):
            raise ConfigError(
                f"Objects {list(planes)} cannot be selected among {self._num_objects}. Expected at least one position "
                f"from 0 to {self._num_objects - 1}. Drop the whole bank when its last object goes."
            )
        self._storage.select_columns(list(planes), self._num_objects)
        self._num_objects = len(planes)

    def remove_objects(self, planes: Sequence[int]) -> None:
        """Drop the values of these objects.

        Args:
            planes: Positions among the objects, from 0.

        Raises:
            ConfigError: If a plane does not exist or none would be left.
        """
        if not all(0 <= plane < self._num_objects for plane in planes):
            raise ConfigError(
                f"Objects {list(planes)} cannot be removed from {self._num_objects}. "
                f"Expected positions from 0 to {self._num_objects - 1}."
            )
        self.select_objects([plane for plane in range(self._num_objects) if plane not in planes])

    def select_batch(self, rows: Sequence[int]) -> None:
        """Keep these entries of the batch axis, in this order (for networks with one set of keys per object)."""
        self._storage.select_batch(list(rows))

    def _put(self, slot: int, keys: Tensor, values: Tensor, stored: StoredFrame) -> None:
        self._slots.extend([None] * (slot + 1 - len(self._slots)))
        scale, bias = similarity_terms(keys, self._similarity, scale=self._scale)
        self._storage.put(slot, Rows(keys, bias, values), scale, self._max_frames)
        self._slots[slot] = stored

    def _release(self, slot: int) -> None:
        self._slots[slot] = None
        self._storage.clear(slot)

    def _check(self, keys: Tensor, values: Tensor) -> None:
        self._storage.check(keys, values)
        if values.shape[2] % self._num_objects:
            raise ShapeError(
                f"The memory bank got values {tuple(values.shape)} for {self._num_objects} objects. "
                "Expected (B, h·w, O·Cv). Give the bank the right num_objects."
            )


def _check_bound(max_frames: int | None) -> None:
    if max_frames is not None and max_frames < 1:
        raise ConfigError(f"max_frames is {max_frames}. Expected at least 1, or None for no bound.")
