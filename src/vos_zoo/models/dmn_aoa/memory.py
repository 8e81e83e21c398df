"""DMN-AOA's memory: object features of past frames, boxes, and reference frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from vos_zoo.errors import EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.memory import MemoryBank
from vos_zoo.network import ClipMemory, MemoryPolicy

from .proposals import PropagatedProposals, ProposalSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from .config import Keeps
    from .refinement import ReferenceFrame

_WITHOUT_DETECTOR = PropagatedProposals()


@dataclass(frozen=True)
class DMNPolicy(MemoryPolicy):
    """A memory policy that also says which past frames an object remembers and where proposals come from.

    Args:
        keeps: Past frames of every object: its ``first``, the ``previous`` one, both, ``every`` (both and each
            ``every``-th), or ``all``.
        source: Where proposals come from; the default needs nothing but the video.
    """

    keeps: Keeps = "every"
    source: ProposalSource = _WITHOUT_DETECTOR


@dataclass(frozen=True)
class PlaneState:
    """What does not depend on the clip of the batch.

    Args:
        start: Time of the object's first frame.
        reference: Time of the annotated frame that refinement refers to.
    """

    start: int
    reference: int


class DMNMemory(ClipMemory):
    """State of one clip, or of the clips of a batch.

    Every object of every clip has a bank of its own, since a frame in which it is not seen is left out for it alone.

    Args:
        policy: What is kept.
        differentiable: Whether the banks keep the graph, as in training.
    """

    policy: DMNPolicy

    def __init__(self, policy: DMNPolicy, *, differentiable: bool) -> None:
        super().__init__(policy)
        self.differentiable = differentiable
        #: time of the clip's first memorised frame
        self.origin: int | None = None
        self.planes: list[PlaneState] = []
        #: by clip, then by plane
        self.banks: list[list[MemoryBank]] = []
        #: frames that were annotated, by time
        self.references: dict[int, ReferenceFrame] = {}
        self.previous: ReferenceFrame | None = None
        #: per-object tensors (B, O, ...)
        self.objects: dict[str, Tensor] = {}

    @property
    def is_due(self) -> bool:
        """Always: boxes and the previous frame move on with every frame; the banks decide what they keep."""
        return True

    @property
    def num_objects(self) -> int:
        """Objects known so far."""
        return len(self.planes)

    @property
    def num_frames(self) -> int:
        """Most frames any object remembers."""
        return max((bank.num_frames for banks in self.banks for bank in banks), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of banks, reference frames and masks."""
        frames = {id(frame): frame for frame in (*self.references.values(), self.previous) if frame is not None}
        parts = [*self.objects.values(), *(part for frame in frames.values() for part in frame)]
        banked = sum(bank.nbytes for banks in self.banks for bank in banks)
        return banked + sum(part.numel() * part.element_size() for part in parts)

    def _banks(self) -> list[MemoryBank]:
        return [bank for banks in self.banks for bank in banks]

    def require(self) -> None:
        """Refuse to continue without a memorised frame.

        Raises:
            EmptyMemoryError: If there is none.
        """
        if not self.planes:
            raise EmptyMemoryError(
                "The memory is empty. Memorise a reference frame with its masks before segmenting another frame."
            )

    def admit(self, batch: int, objects: int, annotated: frozenset[int]) -> None:
        """Make room for the objects of a frame.

        Args:
            batch: Clips.
            objects: Planes, known ones first.
            annotated: Planes that the user annotated.

        Raises:
            ShapeError: If planes are missing, unknown, or new without annotation.
        """
        known = self.num_objects
        newcomers = list(range(known, objects))
        if objects < known or objects == 0:
            raise ShapeError(
                f"Memorising {objects} object planes, but the memory knows {known}. Give one plane per known object; "
                "remove objects with remove_objects."
            )
        if not annotated.issuperset(newcomers) or not annotated <= set(range(objects)):
            raise ShapeError(
                f"Planes {newcomers} are new and {sorted(annotated)} are annotated among {objects}. Expected every new "
                "plane, and existing planes only, among the annotated ones."
            )
        if self.origin is None:
            self.origin = self.clock
        if not self.banks:
            self.banks = [[] for _ in range(batch)]
        for banks in self.banks:
            banks += [self._new_bank() for _ in newcomers]
        for plane in sorted(annotated):
            if plane < known:
                # A corrected object keeps its time offsets and refines against the corrected frame from now on.
                self.planes[plane] = replace(self.planes[plane], reference=self.clock)
            else:
                self.planes.append(PlaneState(self.clock, self.clock))

    def remember(self, entry: int, plane: int, keys: Tensor, values: Tensor, *, is_reference: bool) -> None:
        """Store one object's frame, keys (1, N, Ck) and values (1, N, Cv), as the policy wants it."""
        keeps = self.policy.keeps
        offset = self.clock - self.planes[plane].start
        if keeps == "first" and not is_reference:
            return
        is_kept = keeps == "all" or (keeps == "every" and offset % self.policy.every == 0)
        if keeps != "previous":
            is_kept = is_kept or is_reference
        self.banks[entry][plane].write(
            keys, values, frame=self.clock, reference=is_reference and keeps != "previous", temporary=not is_kept
        )

    def drop_references(self) -> None:
        """Forget annotated frames that no object refers to."""
        used = {plane.reference for plane in self.planes}
        self.references = {time: frame for time, frame in self.references.items() if time in used}

    def check_budget(self) -> None:
        """Refuse a memory beyond the policy's bytes.

        Raises:
            MemoryBudgetError: If banks at their bound cannot be made smaller.
        """
        limit = self.policy.max_bytes
        if limit is None or self.nbytes <= limit:
            return
        frame_bytes = sum(bank.bytes_per_frame for banks in self.banks for bank in banks)
        fixed = self.nbytes - sum(bank.nbytes for banks in self.banks for bank in banks)
        affordable = (limit - fixed) // max(frame_bytes, 1)
        if affordable < 2:
            raise MemoryBudgetError(
                f"The memory budget is {limit / 2**20:.3g} MiB, but references take {fixed / 2**20:.3g} MiB and one "
                f"frame of these objects {frame_bytes / 2**20:.3g} MiB, of which 2 are the least. Raise the budget, "
                "lower the working size, or segment fewer objects at a time."
            )
        for banks in self.banks:
            for bank in banks:
                bank.resize(affordable)

    def remove_objects(self, planes: Iterable[int]) -> None:
        """Forget objects; the remaining planes close up in order."""
        gone = set(planes)
        keep = [plane for plane in range(self.num_objects) if plane not in gone]
        self.planes = [self.planes[plane] for plane in keep]
        self.banks = [[banks[plane] for plane in keep] for banks in self.banks]
        self.objects = {name: part[:, keep] for name, part in self.objects.items()} if keep else {}
        if not keep:
            self.banks, self.previous = [], None
        self.drop_references()

    def set_object(self, name: str, new: Tensor, planes: Iterable[int]) -> None:
        """Replace a per-object tensor (B, O, ...) at ``planes`` by ``new`` (B, O, ...), which has all planes."""
        chosen = set(planes)
        old = self.objects.get(name)
        objects = new.shape[1]
        if old is None or len(chosen) == objects:
            self.objects[name] = new
            return
        parts = [new[:, plane] if plane in chosen else old[:, plane] for plane in range(objects)]
        self.objects[name] = torch.stack(parts, dim=1)

    def _new_bank(self) -> MemoryBank:
        return MemoryBank(max_frames=self.policy.max_frames, similarity="dot", differentiable=self.differentiable)
