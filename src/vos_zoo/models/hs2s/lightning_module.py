"""Training of HS2S."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from vos_zoo.configs import check_choice
from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.errors import ConfigError
from vos_zoo.training.initial_weights import read_checkpoint
from vos_zoo.training.module import VOSModule, resolve_config
from vos_zoo.training.unroll import object_planes, split_frames

from .config import HS2SConfig
from .convert import start_from_giel
from .losses import LossWeights, balanced_cross_entropy, border_targets, log_jaccard, object_log_jaccard
from .network import HS2SFeatures, HS2SNetwork, StepOutput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Jaccard = Literal["batch", "object"]

_DECAY_EPOCHS = 5
_DECAY = 0.9


class HS2SModule(VOSModule):
    """HS2S with its recurrent training (paper, Section 4.4; numbers of the released code where the paper gives none).

    Every object of a clip is segmented on its own, from the exact mask of the first frame. What is fed back afterwards
    is the true mask (teacher forcing) until ``feedback_start``; later each step draws between the true mask and the
    network's own soft one.

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``small``, ``tiny``, ``s2s_star``, ``hs2s_0``,
            ``hs2s_prev``, ``hs2s_sim``.
        overrides: Fields of the configuration to replace.
        losses: Weights of the loss terms: ``released`` or ``paper``.
        balanced: Whether background and object weigh alike in the cross-entropy, however small the object is (paper,
            Equation 12). A network that is still unsure then marks whatever may be the object, and masks that are fed
            back grow; without it, pixels weigh alike.
        jaccard: What the log-Jaccard term sums over: ``batch``, all pixels of all objects (released code), or
            ``object``, so that small objects weigh like large ones.
        learning_rate: Adam's learning rate (paper).
        weight_decay: L2 term (released code: none).
        decay_start: Epoch from which the learning rate falls to 0.9 of itself after every 5 epochs (released code).
        feedback_start: Last epoch of pure teacher forcing (released code).
        feedback_slope: Fall of the probability of the true mask per epoch after that (released code).
        feedback_floor: Least probability of the true mask (released code).
        detach_feedback: Whether gradients stop at masks that are fed back (released code: no).
        mask_input_start: Iteration from which the current frame's encoder sees the previous mask instead of an empty
            one, so that a network learns matching before it can copy (released code: always). Its first convolution
            keeps its weights until then.
        mask_dropout: Probability that it sees an empty one after that, drawn once per time step (released code: 0).
        shortest_clip: Fewest predicted frames; each iteration draws a number from here up to a longest one, and takes
            so many consecutive frames of its clips (released code). Devices whose clips differ in length take what all
            of them have.
        clip_growth_epochs: Epochs after which the longest number grows by one, up to the length that the data give.
        freeze_bn_epoch: Epoch from which batch normalisation keeps its statistics (released code).
        identity_stem: Whether the encoders' extra stem layer starts as the identity instead of at random, so that the
            stages behind it see at once what their backbone weights were trained on.
        giel_weights: Name or folder of a GIEL of the same backbone and key width, from which encoders and stride-16
            matching start; matching has to be cosine attention (see ``convert.start_from_giel``).
        checkpoint_steps: Recompute each frame in the backward pass, which saves most of the memory of the activations.
        **training: Schedule and initial weights of ``VOSModule``.
    """

    #: HS2S trains batch statistics first; see ``freeze_bn_epoch``.
    freezes_batch_norm: ClassVar[bool] = False

    network: HS2SNetwork

    def __init__(
        self,
        config: HS2SConfig | str = "r50",
        overrides: dict[str, Any] | None = None,
        *,
        losses: Literal["released", "paper"] = "released",
        balanced: bool = True,
        jaccard: Jaccard = "batch",
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        decay_start: int = 651,
        feedback_start: int = 300,
        feedback_slope: float = 0.004,
        feedback_floor: float = 0.5,
        detach_feedback: bool = False,
        mask_input_start: int = 0,
        mask_dropout: float = 0.0,
        shortest_clip: int = 5,
        clip_growth_epochs: int = 10,
        freeze_bn_epoch: int = 501,
        identity_stem: bool = False,
        giel_weights: str | None = None,
        checkpoint_steps: bool = False,
        **training: Any,
    ) -> None:
        if shortest_clip < 1 or clip_growth_epochs < 1:
            raise ConfigError(
                f"HS2SModule has shortest_clip={shortest_clip} and clip_growth_epochs={clip_growth_epochs}. Expected "
                "at least 1 of both."
            )
        if mask_input_start < 0 or not 0 <= mask_dropout <= 1:
            raise ConfigError(
                f"HS2SModule has mask_input_start={mask_input_start} and mask_dropout={mask_dropout}. Expected an "
                "iteration from 0 on and a probability."
            )
        check_choice("jaccard", jaccard, Jaccard)
        super().__init__(
            HS2SNetwork(resolve_config(HS2SConfig, config, overrides)),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            **training,
        )
        self.loss_weights = LossWeights.named(losses)
        self.cross_entropy_of_masks = balanced_cross_entropy if balanced else F.binary_cross_entropy_with_logits
        self.jaccard_of_masks = {"batch": log_jaccard, "object": object_log_jaccard}[jaccard]
        self.decay_start = decay_start
        self.feedback_start = feedback_start
        self.feedback_slope = feedback_slope
        self.feedback_floor = feedback_floor
        self.detach_feedback = detach_feedback
        self.mask_input_start = mask_input_start
        self.mask_dropout = mask_dropout
        self.shortest_clip = shortest_clip
        self.clip_growth_epochs = clip_growth_epochs
        self.freeze_bn_epoch = freeze_bn_epoch
        if identity_stem:
            for encoder in (self.network.encoder, self.network.reference_encoder):
                nn.init.dirac_(encoder.extra_conv.weight)
        self.giel_weights = giel_weights
        self.checkpoint_steps = checkpoint_steps

    def load_start(self, roots: Sequence[Path]) -> bool:
        """Load the GIEL that encoders and matching start from, besides what every model can start from."""
        found = super().load_start(roots)
        if self.giel_weights is not None:
            start_from_giel(self.network, read_checkpoint(self.giel_weights, roots))
        return found or self.giel_weights is not None

    def train(self, mode: bool = True) -> HS2SModule:
        """Switch to training; batch normalisation keeps its statistics after ``freeze_bn_epoch``."""
        super().train(mode)
        if self.current_epoch >= self.freeze_bn_epoch:
            for part in self.network.modules():
                if isinstance(part, _BatchNorm):
                    part.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Let the mode follow the epoch."""
        self.train()

    def true_mask_probability(self, epoch: int) -> float:
        """Return the probability of feeding the true mask back at an epoch (0-based)."""
        if epoch <= self.feedback_start:
            return 1.0
        return max(self.feedback_floor, 1.0 - self.feedback_slope * (epoch - self.feedback_start))

    def longest_clip(self, epoch: int, predicted: int) -> int:
        """Return the most predicted frames at an epoch, of ``predicted`` that the data give."""
        return min(self.shortest_clip + epoch // self.clip_growth_epochs, predicted)

    def learning_rate_factor(self, iteration: int) -> float:
        """Return the factor on the learning rate, which also falls late in training."""
        late = max(0, self.current_epoch - self.decay_start)
        return _DECAY ** (late // _DECAY_EPOCHS) * super().learning_rate_factor(iteration)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Unroll clips of objects; the mean of the frames' losses."""
        network, valid = self.network, batch["valid_objects"]
        available = self._shortest_of_all_devices(batch["images"].shape[1])
        frames = 1 + self._draw_length(available - 1)
        start = int(torch.randint(available - frames + 1, ()).item())
        if not object_planes(batch["masks"][:, start], valid).flatten(2).any(dim=2)[valid].all():
            start = 0  # where objects were chosen: they have to be seen to be followed
        images = batch["images"][:, start : start + frames]
        # Objects never see each other: each is a clip of one object, and planes without an object cost nothing.
        clips, planes = _present_objects(valid)
        encoded = network.encode(images.flatten(0, 1))
        if self._keeps_first_convolution:
            encoded = encoded._replace(stem=encoded.stem.detach())
        features = [HS2SFeatures(*(part[clips] for part in frame)) for frame in split_frames(encoded, frames)]
        masks = batch["masks"][:, start : start + frames].unbind(1)
        targets = [object_planes(mask, valid)[clips, planes].unsqueeze(1) for mask in masks]
        memory = network.new_memory()
        network.advance(features[0], targets[0], memory, frozenset({0}))
        terms: list[dict[str, Tensor]] = []
        for time in range(1, frames):
            memory.tick()
            output = self._step(features[time], memory.require())
            terms.append(self.frame_terms(output, targets[time]))
            if time < frames - 1:
                own = output.logits.sigmoid()
                is_true = torch.rand(()).item() < self.true_mask_probability(self.current_epoch)
                fed_back = targets[time] if is_true else own.detach() if self.detach_feedback else own
                network.advance(features[time], fed_back, memory, frozenset(), output.state)
        means = {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}
        for name, value in means.items():
            self.log(f"train/{name}", value)
        weights = self.loss_weights
        total = weights.cross_entropy * means["cross_entropy"] + weights.jaccard * means["jaccard"]
        if "border" in means:
            total = total + weights.border * means["border"]
        if self._keeps_first_convolution:  # Several devices wait for a gradient of every parameter.
            total = total + 0.0 * network.encoder.first_convolution.weight.sum()
        return self.log_loss(total)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave the first convolution out while it keeps its weights: even a gradient of 0 would move Adam's state."""
        if self._keeps_first_convolution:
            self.network.encoder.first_convolution.weight.grad = None

    @property
    def _keeps_first_convolution(self) -> bool:
        return self.global_step < self.mask_input_start

    def frame_terms(self, output: StepOutput, target: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of one frame, over all objects of the batch as one tensor.

        Args:
            output: The network's result.
            target: True masks (B, O, H, W), 0 or 1.
        """
        logits, truth = output.logits.flatten(0, 1), target.flatten(0, 1)
        terms = {
            "cross_entropy": self.cross_entropy_of_masks(logits, truth),
            "jaccard": self.jaccard_of_masks(logits, truth),
        }
        if output.borders is not None:
            config = self.network.config
            classes = border_targets(truth, width=config.border_width, bin_size=config.border_bin)
            terms["border"] = F.cross_entropy(output.borders.flatten(0, 1).to(logits.dtype), classes)
        return terms

    def _step(self, features: Any, state: dict[str, Tensor]) -> StepOutput:
        if self._keeps_first_convolution or torch.rand(()).item() < self.mask_dropout:
            state = {name: part for name, part in state.items() if name != "mask"}
        if not self.checkpoint_steps:
            return self.network.step(features, state)
        output: StepOutput = checkpoint(
            self.network.step,
            features,
            state,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), _unmoved_statistics(self.network)),
        )
        return output

    def _shortest_of_all_devices(self, frames: int) -> int:
        """Return the fewest frames that any device has: shared batch statistics need equally many steps on all."""
        if self._trainer is None or self.trainer.world_size == 1:
            return frames
        gathered = self.all_gather(torch.tensor(frames, device=self.device))
        return int(torch.as_tensor(gathered).min())

    def _draw_length(self, predicted: int) -> int:
        longest = self.longest_clip(self.current_epoch, predicted)
        shortest = min(self.shortest_clip, longest)
        return int(torch.randint(shortest, longest + 1, ()).item())


@contextlib.contextmanager
def _unmoved_statistics(network: nn.Module) -> Iterator[None]:
    """Leave running statistics alone while a frame is recomputed, which has moved them already."""
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    before = [(norm.momentum, norm.get_buffer("num_batches_tracked").clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # what the backward pass keeps has to be the same, so that they cannot be switched off
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.get_buffer("num_batches_tracked").copy_(tracked)


def _present_objects(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return clip and plane of every object, of the first plane if there is none: a loss needs something."""
    clips, planes = valid.nonzero(as_tuple=True)
    return (clips, planes) if len(clips) else (clips.new_zeros(1), planes.new_zeros(1))
