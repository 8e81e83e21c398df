"""HS2S: recurrent segmentation of each object, matched with its first and its previous frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vos_zoo.network import MemoryCost, MemoryPolicy, Prediction, VOSNetwork, reference_planes

from .decoder import Decoder
from .encoder import EncoderFeatures, MaskedEncoder
from .matching import Merge
from .memory import HS2SMemory, ObjectState, replace_objects
from .recurrence import ConvLSTM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import HS2SConfig

_REFERENCE_NAMES: dict[str, tuple[str, ...]] = {
    "none": (),
    "first": ("first",),
    "previous": ("previous",),
    "both": ("first", "previous"),
}
_SUPPRESSED = -30.0  # a logit whose probability is below the bound of soft aggregation


class HS2SFeatures(NamedTuple):
    """What HS2S knows of a frame before any mask.

    Args:
        stem: First convolution of the current frame's encoder, image part (B, C, H/2, W/2).
        reference_stem: The same of the reference encoder, for when the frame is memorised.
    """

    stem: Tensor
    reference_stem: Tensor


@dataclass(frozen=True)
class HS2SPrediction(Prediction):
    """Logits of a frame, and what ``memorize`` keeps of it.

    Args:
        logits: See :class:`~vos_zoo.network.Prediction`.
        state: Recurrent states after the frame.
        probabilities: Every object's own probability, shape (B, O, H, W).
    """

    state: ObjectState
    probabilities: Tensor


class StepOutput(NamedTuple):
    """One frame's result for every object.

    Args:
        logits: Mask logits (B, O, H, W).
        borders: Border logits (B, O, K, H, W); None without border head.
        state: Recurrent states after the frame.
    """

    logits: Tensor
    borders: Tensor | None
    state: ObjectState


class InitialState(nn.Module):
    """Hidden and cell state from an encoded first frame, each a 1x1 convolution with ReLU.

    Args:
        in_channels: Channels of the encoded frame.
        width: Channels of the states.

    Source: S2S, Xu et al., ECCV 2018, as HS2S's baseline S2S* needs it; heads as in RS2S, Azimi et al., 2020.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(in_channels, width, 1)
        self.cell = nn.Conv2d(in_channels, width, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, in_channels, h, w) to two states (N, width, h, w)."""
        return _exact(self.hidden(features).relu()), _exact(self.cell(features).relu())


class HS2SNetwork(VOSNetwork[HS2SFeatures, HS2SMemory]):
    """HS2S and its ablations behind the four verbs; objects are rows of one batch and never see each other.

    Args:
        config: Sizes, references and inference choices.

    Source: HS2S, Azimi et al., 2020, Section 3; details of the released network.
    """

    stride: ClassVar[int] = 32
    replayable: ClassVar[tuple[str, ...]] = ("encode", "step", "encode_reference")
    #: What the released network was trained and tested on.
    working_size: int | tuple[int, int] = (256, 448)

    def __init__(self, config: HS2SConfig) -> None:
        super().__init__()
        self.config = config
        self.reference_encoder = MaskedEncoder(config, takes_mask=True)
        self.encoder = MaskedEncoder(config, takes_mask=config.mask_input)
        width, stride16 = config.state_width, self.encoder.channels[2]
        self.cell = ConvLSTM(width, width, 3)
        self.skip_cell = ConvLSTM(stride16, width, config.skip_kernel) if config.skip_rnn else None
        starts_from_frame = config.initial_state == "first_frame"
        self.initial = InitialState(width, width) if starts_from_frame else None
        self.skip_initial = InitialState(stride16, width) if starts_from_frame and config.skip_rnn else None
        #: names of the references in the memory's state, in the order of the merges' branches
        self.reference_names = _REFERENCE_NAMES[config.references]
        self.merge = Merge(config, width, len(self.reference_names))
        self.skip_merge = Merge(config, stride16, len(self.reference_names)) if config.skip_rnn else None
        self.decoder = Decoder(config, self.encoder)

    def default_policy(self) -> MemoryPolicy:
        """Memorise every frame; the memory is constant by construction."""
        return MemoryPolicy(every=1)

    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """One state per object: previous mask, recurrent states and encoded references, four bytes each."""
        height, width = size
        positions32 = -(-height // 32) * -(-width // 32)
        positions16 = -(-height // 16) * -(-width // 16)
        references, config = len(self.reference_names), self.config
        per_object = height * width + (2 + references) * config.state_width * positions32
        if config.skip_rnn:
            per_object += (2 * config.state_width + references * self.encoder.channels[2]) * positions16
        # The widest maps that live together: the stride-2 stem, then the decoder's last level with its two heads.
        working = 3 * self.encoder.stem_channels // 4 + 2 * config.decoder_dims[-1] + 5 * config.border_classes
        return MemoryCost(4 * objects * per_object, 1, 4 * height * width * (3 + objects * working))

    def new_memory(self, policy: MemoryPolicy | None = None) -> HS2SMemory:
        """Make an empty memory."""
        return HS2SMemory(policy or self.default_policy())

    def encode(self, image: Tensor) -> HS2SFeatures:
        """Apply what does not depend on masks to a normalised frame (B, 3, H, W): both first convolutions."""
        return HS2SFeatures(self.encoder.image_stem(image), self.reference_encoder.image_stem(image))

    def segment(self, features: HS2SFeatures, memory: HS2SMemory) -> Tensor:
        """Return mask logits (B, O, H, W) of the current frame."""
        return self.predict(features, memory).logits

    def predict(self, features: HS2SFeatures, memory: HS2SMemory) -> HS2SPrediction:
        """Return the current frame's logits with the recurrent states after it."""
        own, _, state = self.step(features, memory.require())
        logits = _suppress_losers(own) if self.config.merge == "argmax" else own
        return HS2SPrediction(logits, state, own.sigmoid())

    def memorize(
        self,
        features: HS2SFeatures,
        probabilities: Tensor,
        memory: HS2SMemory,
        *,
        reference: bool | Sequence[int] = False,
        prediction: Prediction | None = None,
    ) -> None:
        """Feed the frame's masks back: move the recurrent states on, encode the references.

        With ``feedback="own"`` the masks of objects that nobody annotated are the network's own probabilities of this
        frame, without the pixels that were annotated for other objects.
        """
        annotated = reference_planes(reference, probabilities.shape[1])
        memory.check_planes(probabilities.shape[1], annotated)
        goes_on = memory.num_objects > 0 and len(self._starting(annotated, memory)) < probabilities.shape[1]
        if not goes_on:
            self.advance(features, probabilities, memory, annotated)
            return
        own = prediction if isinstance(prediction, HS2SPrediction) else self.predict(features, memory)
        masks = probabilities
        if self.config.feedback == "own":
            masks = _merge_feedback(own.probabilities, probabilities, annotated)
        self.advance(features, masks, memory, annotated, own.state)

    def step(self, features: HS2SFeatures, state: ObjectState) -> StepOutput:
        """Segment one frame from an object state, without a memory.

        Args:
            features: The current frame.
            state: What the memory holds: ``mask`` of the previous frame, recurrent states and references. Without
                ``mask`` the encoder sees an empty one.
        """
        batch, objects = state["hidden"].shape[:2]
        masks = state.get("mask") if self.config.mask_input else None
        encoded = self.encoder(features.stem, masks)
        if masks is None:  # one encoding serves all objects
            encoded = EncoderFeatures(*(part.repeat_interleave(objects, dim=0) for part in encoded))
        rows = {name: part.flatten(0, 1) for name, part in state.items()}
        hidden, cell = self.cell(encoded.reduced, rows["hidden"], rows["cell"])
        after = {"hidden": hidden, "cell": cell}
        merged = self.merge([rows[name] for name in self.reference_names], hidden)
        skip_merged = None
        if self.skip_cell is not None and self.skip_merge is not None:
            skip_hidden, skip_cell = self.skip_cell(encoded.stride16, rows["skip_hidden"], rows["skip_cell"])
            after |= {"skip_hidden": skip_hidden, "skip_cell": skip_cell}
            skip_merged = self.skip_merge([rows[f"skip_{name}"] for name in self.reference_names], skip_hidden)
        logits, borders = self.decoder(merged, skip_merged, encoded)
        return StepOutput(
            _per_object(_exact(logits), batch).squeeze(2),
            None if borders is None else _per_object(borders, batch),
            {name: _per_object(part, batch) for name, part in after.items()},
        )

    def advance(
        self,
        features: HS2SFeatures,
        masks: Tensor,
        memory: HS2SMemory,
        annotated: frozenset[int],
        after: ObjectState | None = None,
    ) -> None:
        """Make masks (B, O, H, W) the previous ones, whatever the feedback setting; training calls this itself.

        Args:
            features: The frame that the masks belong to.
            masks: Values in [0, 1].
            memory: The clip's memory.
            annotated: Planes that a user annotated.
            after: Recurrent states after the frame; None if every object starts here.
        """
        objects = masks.shape[1]
        state = {**memory.state, **(after or {}), "mask": masks}
        starting = self._starting(annotated, memory)
        encoded = list(range(objects)) if "previous" in self.reference_names else starting
        if encoded:
            of_frame = self.encode_reference(features, masks[:, encoded])
            if "previous" in self.reference_names:
                state |= {f"{prefix}previous": part for prefix, part in of_frame.items()}
            if starting:
                first = {
                    prefix: part[:, [encoded.index(plane) for plane in starting]] for prefix, part in of_frame.items()
                }
                fresh = self.initial_state(first)
                if "first" in self.reference_names:
                    fresh |= {f"{prefix}first": part for prefix, part in first.items()}
                state |= {
                    name: replace_objects(state.get(name), part, starting, objects) for name, part in fresh.items()
                }
        memory.check_budget(state)
        memory.state = state
        memory.frames_since_kept = 0

    def _starting(self, annotated: frozenset[int], memory: HS2SMemory) -> list[int]:
        """Return the planes that start with this frame; corrections may continue from the previous states."""
        goes_on = memory.num_objects if self.config.correction == "continue" else 0
        return sorted(plane for plane in annotated if plane >= goes_on)

    def encode_reference(self, features: HS2SFeatures, masks: Tensor) -> ObjectState:
        """Encode a frame with masks (B, n, H, W): reduced map under "", stride-16 map under "skip_"."""
        encoded = self.reference_encoder(features.reference_stem, masks)
        parts = {"": encoded.reduced}
        if self.skip_cell is not None:
            parts["skip_"] = encoded.stride16
        return {prefix: _per_object(part, masks.shape[0]) for prefix, part in parts.items()}

    def initial_state(self, first: ObjectState) -> ObjectState:
        """Return states of objects that start with these encoded first frames."""
        state: ObjectState = {}
        for prefix, part in first.items():
            head = self.skip_initial if prefix else self.initial
            if head is None:
                batch, objects, _, height, width = part.shape
                zeros = _exact(part.new_zeros(batch, objects, self.config.state_width, height, width))
                state |= {f"{prefix}hidden": zeros, f"{prefix}cell": zeros}
            else:
                hidden, cell = head(part.flatten(0, 1))
                state |= {
                    f"{prefix}hidden": _per_object(hidden, len(part)),
                    f"{prefix}cell": _per_object(cell, len(part)),
                }
        return state


def _per_object(rows: Tensor, batch: int) -> Tensor:
    """Split (B*O, ...) into (B, O, ...)."""
    return rows.reshape(batch, -1, *rows.shape[1:])


def _exact(features: Tensor) -> Tensor:
    return features if features.dtype == torch.float64 else features.float()


def _merge_feedback(own: Tensor, given: Tensor, annotated: frozenset[int]) -> Tensor:
    """Take annotated planes of ``given`` (B, O, H, W), all others of ``own`` (B, known, H, W) outside annotations."""
    if not annotated:
        return own
    claimed = given[:, sorted(annotated)].amax(dim=1)
    planes = [
        given[:, plane] if plane in annotated else own[:, plane] * (1 - claimed) for plane in range(given.shape[1])
    ]
    return torch.stack(planes, dim=1)


def _suppress_losers(logits: Tensor) -> Tensor:
    """Leave at every pixel the most probable object alone, so that it wins exactly where it is above one half."""
    winner = logits.argmax(dim=1, keepdim=True)
    planes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    return torch.where(planes == winner, logits, torch.full_like(logits, _SUPPRESSED))
