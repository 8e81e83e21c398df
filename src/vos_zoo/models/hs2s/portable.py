"""HS2S's verbs as functions of tensors, for export: its memory is constant by construction."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from vos_zoo.errors import ConfigError
from vos_zoo.portable import PortableVerbs, Segmented, StateArray

from .network import HS2SFeatures

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.network import MemoryPolicy
    from vos_zoo.portable import Tensors

    from .network import HS2SNetwork

_OWN = "own"  # the network's own probabilities


class HS2SVerbs(PortableVerbs):
    """Recurrent states, references and previous mask of every object.

    Args:
        network: HS2S or one of its ablations.
        policy: What is kept; the state moves on with every frame, whatever it says.

    Raises:
        ConfigError: If objects are weighed against each other before they are aggregated.
    """

    kind = "recurrent"
    segment_takes: ClassVar[tuple[str, ...]] = ("stem",)
    memorize_takes: ClassVar[tuple[str, ...]] = ("reference_stem", "claimed")
    network: HS2SNetwork

    def __init__(self, network: HS2SNetwork, policy: MemoryPolicy | None = None) -> None:
        super().__init__(network, policy)
        if network.config.merge == "argmax":
            raise ConfigError(
                "HS2S with merge='argmax' cannot be exported: at every pixel it keeps one object of all, and graphs "
                "see one group of objects at a time. Load it with merge='soft', or let it run in a VideoSession."
            )
        self.carries = (*self._recurrent, _OWN)  # type: ignore[misc]

    @property
    def _recurrent(self) -> tuple[str, ...]:
        skip = ("skip_hidden", "skip_cell") if self.network.config.skip_rnn else ()
        return ("hidden", "cell", *skip)

    @property
    def state(self) -> tuple[StateArray, ...]:
        """The memory's arrays, and which objects it knows."""
        network, config = self.network, self.network.config
        fine, coarse = ("height/16", "width/16"), ("height/32", "width/32")
        arrays = [StateArray("known", ("objects",)), StateArray("mask", ("objects", "height", "width"))]
        for name in ("hidden", "cell", *network.reference_names):
            arrays.append(StateArray(name, ("objects", config.state_width, *coarse)))
            if config.skip_rnn:
                width = network.encoder.channels[2] if name in network.reference_names else config.state_width
                arrays.append(StateArray(f"skip_{name}", ("objects", width, *fine)))
        return tuple(arrays)

    def segment(self, features: Tensors, state: Tensors) -> Segmented:
        """Move the recurrent states on and decode."""
        stem = features["stem"]
        held = {name: part.unsqueeze(0) for name, part in state.items() if name != "known"}
        logits, _, after = self.network.step(HS2SFeatures(stem, stem), held)  # the reference's stem is not used
        return Segmented(logits, {**after, _OWN: logits.sigmoid()})

    def memorize(
        self, features: Tensors, masks: Tensor, others: Tensor, reference: Tensor, state: Tensors
    ) -> dict[str, Tensor]:
        """Feed the masks back, encode the references, and start objects that a user annotated."""
        network, config = self.network, self.network.config
        is_annotated, is_new = reference > 0, state["known"] < 1
        is_starting = is_annotated & is_new if config.correction == "continue" else is_annotated
        if config.feedback == "own":
            own = features[_OWN] * (1 - features["claimed"])
            masks = torch.where((is_annotated | is_new)[None, :, None, None], masks, own)
        stem = features["reference_stem"]
        encoded = network.encode_reference(HS2SFeatures(stem, stem), masks)
        fresh = {name: part[0] for name, part in network.initial_state(encoded).items()}
        after = {"known": torch.ones_like(reference), "mask": masks[0]}
        starts = is_starting[:, None, None, None]
        for name in self._recurrent:
            after[name] = torch.where(starts, fresh[name], features[name][0])
        for prefix, part in encoded.items():
            if "previous" in network.reference_names:
                after[f"{prefix}previous"] = part[0]
            if "first" in network.reference_names:
                after[f"{prefix}first"] = torch.where(starts, part[0], state[f"{prefix}first"])
        return after
