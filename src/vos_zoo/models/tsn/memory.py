"""TSN's memory: STCN's frames, and beside each frame the heads that were generated from it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from vos_zoo.errors import EmptyMemoryError
from vos_zoo.memory import MemoryBank, MemoryTokens
from vos_zoo.models.grouped_memory import MatchingMemory, ObjectGroup

from .heads import Heads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from vos_zoo.memory import Similarity
    from vos_zoo.network import MemoryPolicy

_BIAS_BYTES = 4


class TwoStreamBank(MemoryBank):
    """A memory bank whose frames also carry packed heads, which come and go with them.

    Args:
        options: Those of ``MemoryBank``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._is_differentiable = bool(options.get("differentiable"))
        self._packed: dict[int, Tensor] = {}
        self._rows = 0
        self._pooled: Heads | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of frames and heads."""
        return super().nbytes + sum(packed.numel() * packed.element_size() for packed in self._packed.values())

    def write(
        self, keys: Tensor, values: Tensor, *, frame: int, reference: bool = False, temporary: bool = False
    ) -> int | None:
        """Remember a frame; its heads follow by :meth:`write_heads`."""
        self._rows = keys.shape[1]
        return super().write(keys, values, frame=frame, reference=reference, temporary=temporary)

    def write_heads(self, heads: Heads, frame: int) -> None:
        """Remember the heads (T = 1) of a frame that was just written, and forget those of dropped frames."""
        packed = heads.pack()
        self._packed[frame] = packed if self._is_differentiable else packed.detach().float()
        self._forget_heads()

    def heads(self) -> Heads:
        """Return the heads of all frames, in the order of the tokens."""
        return Heads.unpack(torch.cat([self._packed[stored.frame] for stored in self.frames], dim=1))

    def first_tokens(self) -> MemoryTokens:
        """Return the tokens of the first annotated frame alone."""
        tokens = self.tokens()
        used = [slot for slot, stored in enumerate(self._slots) if stored is not None]
        first = min(self.frames, key=lambda stored: (not stored.is_reference, stored.frame))
        slot = self._slots.index(first)
        start = self._rows * (used.index(slot) if self._is_differentiable else slot)
        rows = slice(start, start + self._rows)
        bias = None if tokens.bias is None else tokens.bias[:, rows]
        return MemoryTokens(tokens.keys[:, rows], bias, tokens.values[:, rows], tokens.scale)

    def pooled_heads(self, pool: Callable[[Heads, Tensor], Heads]) -> Heads:
        """Return one head from all frames, computed once after every write.

        Args:
            pool: Takes the frames' heads and their values (B, T, hw, O, Cv).
        """
        if self._pooled is None:
            values = self.tokens().values
            values = values.reshape(len(values), -1, self._rows, self.num_objects, values.shape[2] // self.num_objects)
            used = [slot for slot, stored in enumerate(self._slots) if stored is not None]
            if values.shape[1] != len(used):  # dropped frames leave holes
                values = values[:, used]
            self._pooled = pool(self.heads(), values)
        return self._pooled

    def resize(self, max_frames: int | None) -> None:
        """Change the bound; heads of dropped frames go with them."""
        super().resize(max_frames)
        self._forget_heads()

    def select_objects(self, planes: Sequence[int]) -> None:
        """Keep values and heads of these objects only."""
        super().select_objects(planes)
        self._packed = {frame: packed[:, :, list(planes)] for frame, packed in self._packed.items()}
        self._pooled = None

    def _forget_heads(self) -> None:
        kept = {stored.frame for stored in self.frames}
        self._packed = {frame: packed for frame, packed in self._packed.items() if frame in kept}
        self._pooled = None


class TSNMemory(MatchingMemory):
    """Memory of one clip for TSN.

    Args:
        policy: What is kept.
        similarity: Measure of the read.
        head_size: Numbers of a packed head; 0 without an instance stream.
        differentiable: Whether the graph is kept, as in training.

    Attributes:
        compares_first: Whether frames are compared with the first annotated one alone, too.
    """

    def __init__(self, policy: MemoryPolicy, *, similarity: Similarity, head_size: int, differentiable: bool) -> None:
        new_bank = partial(TwoStreamBank, similarity=similarity, differentiable=differentiable)
        super().__init__(policy, new_bank, differentiable=differentiable)
        self.compares_first = False
        self._head_bytes = 4 * head_size

    def write_heads(self, heads: Heads) -> None:
        """Remember the heads (T = 1) of the frame that was just written, for all objects."""
        for group in self.groups:
            chosen = Heads(*(part[:, :, group.planes] for part in heads))
            bank_of(group).write_heads(chosen, self.clock)

    def per_group(self, compute: Callable[[ObjectGroup], Tensor]) -> Tensor:
        """Compute (B, O, ...) of each group and put all planes in order.

        Raises:
            EmptyMemoryError: If nothing has been memorised.
        """
        if not self.groups:
            raise EmptyMemoryError(
                "The memory is empty. Memorise a reference frame with its masks before segmenting another frame."
            )
        return self._in_order([compute(group) for group in self.groups])

    def _new_group(self, keys: Tensor, values: Tensor, planes: list[int]) -> ObjectGroup:
        """Make an empty group whose frames count with their heads."""
        shared_bytes = keys.numel() * keys.element_size() + _BIAS_BYTES * keys[..., 0].numel()
        object_bytes = values[:, :1].numel() * values.element_size() + self._head_bytes * values.shape[0]
        cap = self._cap(shared_bytes + len(planes) * object_bytes)
        for group in self.groups:
            group.bank.resize(cap)
        bank = self._new_bank(max_frames=cap, num_objects=len(planes))
        return ObjectGroup(planes, bank, shared_bytes, object_bytes)


def bank_of(group: ObjectGroup) -> TwoStreamBank:
    """Return a group's bank as what TSN made it."""
    assert isinstance(group.bank, TwoStreamBank)
    return group.bank
