"""Memory of the matching papers (STM, STCN, RDE-VOS and those built on them): groups of objects over frame banks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from vos_zoo.errors import EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.layers import ResNetTrunk
from vos_zoo.memory import MemoryTokens, read_memory
from vos_zoo.network import ClipMemory, MemoryPolicy, VOSNetwork

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor

_LEAST_FRAMES = 2  # a reference frame and the latest one
_BIAS_BYTES = 4  # each position's similarity bias is float32 whatever the type of the keys


class FrameBank(Protocol):
    """Storage of whole frames for objects that share them; see ``vos_zoo.memory.MemoryBank``."""

    @property
    def num_frames(self) -> int:
        """Frames held now."""

    @property
    def nbytes(self) -> int:
        """Bytes held now."""

    def attempt(self) -> AbstractContextManager[None]:
        """Put everything back if what happens inside raises."""

    def write(
        self, keys: Tensor, values: Tensor, *, frame: int, reference: bool = False, temporary: bool = False
    ) -> object:
        """Store a frame's keys (B, hw, Ck) and values (B, hw, D)."""

    def tokens(self) -> MemoryTokens:
        """Return what a read sees."""

    def resize(self, max_frames: int | None) -> None:
        """Change the most frames that are kept."""

    def select_objects(self, planes: Sequence[int]) -> None:
        """Keep the values of these objects only."""

    def select_batch(self, rows: Sequence[int]) -> None:
        """Keep these entries of the batch axis only."""


class BankFactory(Protocol):
    """Makes an empty bank."""

    def __call__(self, *, max_frames: int | None, num_objects: int) -> FrameBank:
        """Make a bank for at most ``max_frames`` frames of ``num_objects`` objects side by side."""


@dataclass(frozen=True)
class ObjectGroup:
    """Objects that share their memory frames, so that one affinity serves them all.

    Args:
        planes: The objects' planes, ascending.
        bank: Their memory.
        shared_bytes: What one memorised frame takes however many objects there are.
        object_bytes: What each object adds to it.
    """

    planes: list[int]
    bank: FrameBank
    shared_bytes: int
    object_bytes: int

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one memorised frame."""
        return self.shared_bytes + len(self.planes) * self.object_bytes


class MatchingMemory(ClipMemory):
    """Memory frames of one clip, one bank per group of objects.

    Objects that entered on the same frame form a group. A group that enters later has a bank of its own, which starts
    with its first frame (STCN's YouTube-VOS protocol keeps a bank per object; grouping computes the same).

    Args:
        policy: What is kept.
        new_bank: Makes an empty bank.
        keys_per_object: Whether keys depend on the object (STM), so that objects are read like clips of a batch.
        differentiable: Whether the banks keep the graph, as in training.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        new_bank: BankFactory,
        *,
        keys_per_object: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(policy)
        self.differentiable = differentiable
        self.groups: list[ObjectGroup] = []
        self._new_bank = new_bank
        self._keys_per_object = keys_per_object

    @property
    def num_objects(self) -> int:
        """Objects known so far."""
        return sum(len(group.planes) for group in self.groups)

    @property
    def num_frames(self) -> int:
        """Most frames any group has in memory."""
        return max((group.bank.num_frames for group in self.groups), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of all banks."""
        return sum(group.bank.nbytes for group in self.groups)

    def write(self, keys: Tensor, values: Tensor, reference: frozenset[int]) -> None:
        """Memorise a frame for all objects; planes beyond the known ones form a new group.

        Args:
            keys: Shape (B, hw, Ck), or (B, O, hw, Ck) when keys depend on the object.
            values: Shape (B, O, hw, Cv).
            reference: Planes that the user annotated on this frame.

        Raises:
            ShapeError: If planes are missing, or a new plane is not annotated.
            MemoryBudgetError: If the byte budget cannot hold two frames.
        """
        objects = values.shape[1]
        known = self.num_objects
        if objects < known or (objects == 0):
            raise ShapeError(
                f"Memorising {objects} object planes, but the memory knows {known}. Give one plane per known object; "
                "remove objects with remove_objects."
            )
        newcomers = list(range(known, objects))
        if not reference.issuperset(newcomers):
            raise ShapeError(f"Planes {newcomers} are new, but only {sorted(reference)} are annotated on this frame.")
        joining = [self._new_group(keys, values, newcomers)] if newcomers else []
        self._regroup(reference)
        is_temporary = self.policy.keep_latest and not reference and self.frames_since_kept < self.policy.every
        # The new bank first: if its allocation fails, the others have not moved on.
        for group in [*joining, *self.groups]:
            chosen = values if len(group.planes) == objects else values[:, group.planes]
            if self._keys_per_object:
                group_keys = (keys if len(group.planes) == objects else keys[:, group.planes]).flatten(0, 1)
                group_values = chosen.flatten(0, 1)
            else:
                group_keys = keys
                group_values = chosen.transpose(1, 2).flatten(2)
            group.bank.write(
                group_keys,
                group_values,
                frame=self.clock,
                reference=not reference.isdisjoint(group.planes),
                temporary=is_temporary,
            )
        self.groups.extend(joining)
        if not is_temporary:
            self.frames_since_kept = 0

    def read(self, query_key: Tensor, *, top_k: int | None) -> Tensor:
        """Read every object's value at every query position.

        Args:
            query_key: Shape (B, Ck, h, w).
            top_k: Memory positions that share the weight; None means all.

        Returns:
            Shape (B, O, Cv, h, w), planes in order.

        Raises:
            EmptyMemoryError: If nothing has been memorised.
        """
        if not self.groups:
            raise EmptyMemoryError(
                "The memory is empty. Memorise a reference frame with its masks before segmenting another frame."
            )
        return self._in_order([self._read_group(group, query_key, top_k) for group in self.groups])

    def remove_objects(self, planes: Iterable[int]) -> None:
        """Forget objects; the remaining planes close up in order."""
        gone = set(planes)
        new_index = {plane: index for index, plane in enumerate(p for p in range(self.num_objects) if p not in gone)}
        groups = []
        for group in self.groups:
            keep = [index for index, plane in enumerate(group.planes) if plane not in gone]
            if not keep:
                continue
            if len(keep) < len(group.planes):
                if self._keys_per_object:
                    group.bank.select_batch(keep)
                else:
                    group.bank.select_objects(keep)
            groups.append(replace(group, planes=[new_index[group.planes[index]] for index in keep]))
        self.groups = groups

    def _banks(self) -> list[FrameBank]:
        return [group.bank for group in self.groups]

    def _regroup(self, reference: frozenset[int]) -> None:
        """Hook for memories in which a corrected object leaves its group."""

    def _read_group(self, group: ObjectGroup, query_key: Tensor, top_k: int | None) -> Tensor:
        objects = len(group.planes)
        if self._keys_per_object:
            query_key = query_key.repeat_interleave(objects, dim=0)
            return read_memory(query_key, self._tokens(group), top_k=top_k).values.unflatten(0, (-1, objects))
        return read_memory(query_key, self._tokens(group), top_k=top_k).values.unflatten(1, (objects, -1))

    def _tokens(self, group: ObjectGroup) -> MemoryTokens:
        """Hook for memories of which a read sees a part."""
        return group.bank.tokens()

    def _in_order(self, parts: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        planes = [plane for group in self.groups for plane in group.planes]
        stacked = torch.cat(parts, dim=1)
        order = sorted(range(len(planes)), key=planes.__getitem__)
        return stacked if order == list(range(len(planes))) else stacked[:, order]

    def _new_group(self, keys: Tensor, values: Tensor, planes: list[int]) -> ObjectGroup:
        """Make an empty group; the others give up frames to make room for it."""
        one_key_map = keys[:, :1] if self._keys_per_object else keys
        key_bytes = one_key_map.numel() * one_key_map.element_size()
        key_bytes += _BIAS_BYTES * one_key_map[..., 0].numel()
        value_bytes = values[:, :1].numel() * values.element_size()
        if self._keys_per_object:
            shared_bytes, object_bytes = 0, key_bytes + value_bytes
        else:
            shared_bytes, object_bytes = key_bytes, value_bytes
        cap = self._cap(shared_bytes + len(planes) * object_bytes)
        for group in self.groups:
            group.bank.resize(cap)
        bank = self._new_bank(max_frames=cap, num_objects=1 if self._keys_per_object else len(planes))
        return ObjectGroup(planes, bank, shared_bytes, object_bytes)

    def _slots(self) -> tuple[int, int]:
        """Frames that a group stores: a constant number, and how many for each frame that it keeps."""
        return 0, 1

    def _cap(self, new_group_bytes: int) -> int | None:
        """Frames that each group may keep once a group of ``new_group_bytes`` per frame has joined."""
        if self.policy.max_bytes is None:
            return self.policy.max_frames
        constant, per_kept = self._slots()
        least = constant + _LEAST_FRAMES * per_kept
        frame_bytes = new_group_bytes + sum(group.bytes_per_frame for group in self.groups)
        affordable = self.policy.max_bytes // frame_bytes
        if affordable < least:
            raise MemoryBudgetError(
                f"The memory budget is {self.policy.max_bytes / 2**20:.3g} MiB, but one frame of these objects takes "
                f"{frame_bytes / 2**20:.3g} MiB and {least} frames are the least. Raise the budget, lower the "
                "working size, or segment fewer objects at a time."
            )
        if not per_kept:
            return self.policy.max_frames
        cap = (affordable - constant) // per_kept
        return cap if self.policy.max_frames is None else min(cap, self.policy.max_frames)


def matching_working_bytes(network: VOSNetwork[Any, Any], pixels: int, objects: int) -> int:
    """Estimate float32 activations of a frame with residual trunks and a decoder at strides 4 to 16.

    Per pixel of the frame, the widest layers that live at the same time are about two stride-2 stems and three stride-4
    maps; an object adds the value encoder's or the decoder's maps, which are never alive together. Calibrated on peak
    memory of the released sizes and the small ones.
    """
    trunk = next(part for part in network.modules() if isinstance(part, ResNetTrunk))
    width = trunk.channels[0] / 16  # stride-4 channels per pixel of the frame
    return int(4 * pixels * (3 + 32 + 3 * width + objects * (5 + 3 * width)))
