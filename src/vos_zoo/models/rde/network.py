"""RDE-VOS: STCN with a recurrent, constant-size memory."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from vos_zoo.models.stcn.network import STCNFeatures, STCNNetwork
from vos_zoo.network import MemoryCost, MemoryPolicy

from .aggregation import Aggregation
from .memory import FrameTokens, RDEMemory, RDEPolicy, stored_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vos_zoo.models.grouped_memory import MatchingMemory

    from .config import RDEConfig


class RDENetwork(STCNNetwork):
    """RDE-VOS behind the four verbs: STCN's encoders and decoder, and the aggregation modules.

    Args:
        config: Sizes and inference strategy.

    Source: Li et al., CVPR 2022.
    """

    config: RDEConfig
    replayable: ClassVar[tuple[str, ...]] = (*STCNNetwork.replayable, "aggregation.key", "aggregation.value")

    def __init__(self, config: RDEConfig) -> None:
        super().__init__(config)
        self.aggregation = nn.ModuleDict(
            {
                "key": Aggregation(config.key_dim, config.aggregation_dilations),
                "value": Aggregation(config.value_dim, config.aggregation_dilations),
            }
        )

    def default_policy(self) -> RDEPolicy:
        """Update the slots every ``mem_every``-th frame and read ``memory_entries``."""
        return RDEPolicy(
            every=self.config.mem_every,
            max_frames=self.config.max_memory_frames,
            entries=self.config.memory_entries,
        )

    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """Constant unless the policy reads ``all`` frames."""
        cost = super().memory_cost(policy, size, objects)
        constant, per_kept = stored_frames(self.full_policy(policy).entries)
        if per_kept and policy.max_frames is None:
            return cost
        return replace(cost, max_frames=constant + per_kept * (policy.max_frames or 0))

    def new_memory(self, policy: MemoryPolicy | None = None) -> RDEMemory:
        """Make an empty memory; it keeps the graph when gradients are enabled.

        A plain policy gets the configuration's choice of memories.
        """
        return RDEMemory(
            self.full_policy(policy),
            self.aggregate,
            similarity=self.config.similarity,
            differentiable=torch.is_grad_enabled(),
        )

    def full_policy(self, policy: MemoryPolicy | None) -> RDEPolicy:
        """Complete a plain policy with the memories that the configuration reads; None means the default."""
        if policy is None:
            return self.default_policy()
        if isinstance(policy, RDEPolicy):
            return policy
        values = {field.name: getattr(policy, field.name) for field in fields(MemoryPolicy)}
        return RDEPolicy(**values, entries=self.config.memory_entries)

    def remember(
        self,
        features: STCNFeatures,
        values: Tensor,
        memory: MatchingMemory,
        *,
        reference: bool | Sequence[int] = False,
    ) -> None:
        """Store values (B, O, Cv, h, w) that are already computed."""
        assert isinstance(memory, RDEMemory)
        memory.grid = (features.key.shape[2], features.key.shape[3])
        super().remember(features, values, memory, reference=reference)

    def aggregate(self, slot: FrameTokens, frame: FrameTokens, *, objects: int) -> FrameTokens:
        """Fold a frame into the aggregated slot; objects are folded into the batch axis of the value branch."""
        keys, values = self.aggregate_maps(*(self._maps(part, objects) for part in (slot, frame)))
        stacked = values.flatten(2).unflatten(0, (-1, objects)).permute(0, 3, 1, 2).flatten(2)
        return FrameTokens(keys.flatten(2).mT, stacked, slot.grid)

    def aggregate_maps(self, slot: tuple[Tensor, Tensor], frame: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Fold a frame into the aggregated slot.

        Args:
            slot: Keys (B, Ck, h, w) and values (B*O, Cv, h, w).
            frame: The same of the frame.

        Returns:
            The next slot, in the same form.
        """
        return self.aggregation["key"](slot[0], frame[0]), self.aggregation["value"](slot[1], frame[1])

    @staticmethod
    def _maps(part: FrameTokens, objects: int) -> tuple[Tensor, Tensor]:
        values = part.values.unflatten(2, (objects, -1)).permute(0, 2, 3, 1).flatten(0, 1)
        return part.keys.mT.unflatten(2, part.grid), values.unflatten(2, part.grid)
