"""RDE-VOS's verbs as functions of tensors, for export: the slots of its memory are a state of constant size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch

from vos_zoo.errors import ConfigError
from vos_zoo.memory.backends.portable import UNUSED
from vos_zoo.models.stcn.portable import STCNVerbs
from vos_zoo.portable import Segmented, StateArray

from .memory import RDEPolicy

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.network import MemoryPolicy
    from vos_zoo.portable import MemoryKind, Tensors

    from .network import RDENetwork

_SLOTS = ("rde", "latest", "first")  # order of the state


class RDEVerbs(STCNVerbs):
    """Three slots per group of objects: aggregated, latest and reference frame.

    Args:
        network: RDE-VOS.
        policy: Which slots are read, and how often they are written.

    Raises:
        ConfigError: If the policy reads a memory that grows.
    """

    kind: ClassVar[MemoryKind] = "recurrent"
    splits_on_correction: ClassVar[bool] = True
    network: RDENetwork
    policy: RDEPolicy

    def __init__(self, network: RDENetwork, policy: MemoryPolicy | None = None) -> None:
        policy = network.full_policy(policy)
        super().__init__(network, policy)
        if "all" in policy.entries:
            raise ConfigError(
                f"RDE-VOS with entries={policy.entries} cannot be exported: 'all' grows with the video. Choose among "
                f"{', '.join(_SLOTS)}."
            )
        self._order = [_SLOTS.index(entry) for entry in policy.entries]
        # Before the second write the reference frame counts once, and there is no latest one.
        is_unused = [
            entry == "latest" or (entry == "first" and "first" in policy.entries[:position])
            for position, entry in enumerate(policy.entries)
        ]
        if all(is_unused):
            is_unused[0] = False
        self._unused_at_first = [UNUSED if unused else 0.0 for unused in is_unused]

    @property
    def state(self) -> tuple[StateArray, ...]:
        """Keys and values of the slots, and how often they were written: 0, 1, or 2 for more often."""
        keys, values = super().state
        slots = len(_SLOTS)
        return (
            keys._replace(shape=(slots, *keys.shape[1:])),
            values._replace(shape=(slots, *values.shape[1:])),
            StateArray("writes", (1,)),
        )

    def segment(self, features: Tensors, state: Tensors) -> Segmented:
        """Read the slots, each as often as the policy lists it, and decode."""
        tokens = self.tokens(state["keys"][self._order], state["values"][self._order])
        positions = features["key"].shape[2] * features["key"].shape[3]
        unused = torch.tensor(self._unused_at_first).unsqueeze(1).expand(-1, positions).flatten()
        at_first = (state["writes"] < 2).to(unused.dtype)
        bias = unused * at_first if tokens.bias is None else tokens.bias + unused * at_first
        return Segmented(self.decode(features, self.read(features, replace(tokens, bias=bias))), {})

    def memorize(
        self, features: Tensors, masks: Tensor, others: Tensor, reference: Tensor, state: Tensors
    ) -> dict[str, Tensor]:
        """Fold the frame into the aggregated slot; it becomes the latest one, and the first if a user annotated it."""
        current = self.encode_frame(features, masks, others)
        is_new = state["writes"] < 1
        is_first = is_new | (reference.amax(dim=0, keepdim=True) > 0)
        folded = self._fold(state, current) if "rde" in self.policy.entries else current
        return {
            name: torch.stack(
                [
                    torch.where(is_new, current[name], folded[name]),
                    current[name],
                    torch.where(is_first, current[name], state[name][2]),
                ]
            )
            for name in ("keys", "values")
        } | {"writes": (state["writes"] + 1).clamp(max=2)}

    def _fold(self, state: Tensors, current: dict[str, Tensor]) -> dict[str, Tensor]:
        def maps(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            return keys.permute(2, 0, 1).unsqueeze(0), values.permute(2, 3, 0, 1)

        keys, values = self.network.aggregate_maps(maps(state["keys"][0], state["values"][0]), maps(**current))
        return {"keys": keys[0].permute(1, 2, 0), "values": values.permute(2, 3, 0, 1)}
