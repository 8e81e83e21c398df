"""HS2S's memory: what each object carries from frame to frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vos_zoo.errors import EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.network import ClipMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from vos_zoo.network import MemoryPolicy

#: One tensor (B, O, ...) per name; which names exist depends on the configuration.
ObjectState = dict[str, "Tensor"]


class HS2SMemory(ClipMemory):
    """Recurrent states, references and previous mask of every object of one clip; constant in the clip's length."""

    def __init__(self, policy: MemoryPolicy) -> None:
        super().__init__(policy)
        self.state: ObjectState = {}

    @property
    def is_due(self) -> bool:
        """Always: a recurrent state moves on with every frame, whatever the policy's interval."""
        return True

    @property
    def num_objects(self) -> int:
        """Objects known so far."""
        return self.state["mask"].shape[1] if self.state else 0

    @property
    def num_frames(self) -> int:
        """One state, however many frames went into it."""
        return 1 if self.state else 0

    @property
    def nbytes(self) -> int:
        """Bytes of states, references and masks."""
        return sum(part.numel() * part.element_size() for part in self.state.values())

    def require(self) -> ObjectState:
        """Return the state.

        Raises:
            EmptyMemoryError: If nothing has been memorised.
        """
        if not self.state:
            raise EmptyMemoryError(
                "The memory is empty. Memorise a reference frame with its masks before segmenting another frame."
            )
        return self.state

    def check_planes(self, objects: int, annotated: frozenset[int]) -> None:
        """Refuse masks without one plane per known object, and new objects that nobody annotated.

        Raises:
            ShapeError: If planes are missing, unknown, or new without annotation.
        """
        known = self.num_objects
        if objects < known or objects == 0:
            raise ShapeError(
                f"Memorising {objects} object planes, but the memory knows {known}. Give one plane per known object; "
                "remove objects with remove_objects."
            )
        newcomers = list(range(known, objects))
        if not annotated.issuperset(newcomers) or not annotated <= set(range(objects)):
            raise ShapeError(
                f"Planes {newcomers} are new and {sorted(annotated)} are annotated among {objects}. Expected every new "
                "plane, and existing planes only, among the annotated ones."
            )

    def check_budget(self, state: ObjectState) -> None:
        """Refuse a state beyond the policy's bytes.

        Raises:
            MemoryBudgetError: If it is larger.
        """
        needed = sum(part.numel() * part.element_size() for part in state.values())
        if self.policy.max_bytes is not None and needed > self.policy.max_bytes:
            raise MemoryBudgetError(
                f"The memory budget is {self.policy.max_bytes / 2**20:.3g} MiB, but the states of these objects take "
                f"{needed / 2**20:.3g} MiB. Raise the budget, lower the working size, or segment fewer objects at a "
                "time."
            )

    def remove_objects(self, planes: Iterable[int]) -> None:
        """Forget objects; the remaining planes close up in order."""
        gone = set(planes)
        keep = [plane for plane in range(self.num_objects) if plane not in gone]
        self.state = {name: part[:, keep] for name, part in self.state.items()} if keep else {}


def replace_objects(old: Tensor | None, new: Tensor, planes: Sequence[int], objects: int) -> Tensor:
    """Return (B, objects, ...) with ``new`` (B, len(planes), ...) at ``planes`` and ``old`` elsewhere.

    Example:
        >>> replace_objects(torch.tensor([[1, 2]]), torch.tensor([[7, 8]]), [0, 2], 3)
        tensor([[7, 2, 8]])
    """
    if len(planes) == objects:
        return new
    assert old is not None
    place = {plane: index for index, plane in enumerate(planes)}
    parts = [new[:, place[plane]] if plane in place else old[:, plane].to(new.dtype) for plane in range(objects)]
    return torch.stack(parts, dim=1)
