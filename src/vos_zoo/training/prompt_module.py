"""Training of the network that makes first masks from prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vos_zoo.prompts.maps import draw_maps
from vos_zoo.prompts.network import PromptConfig, PromptNetwork
from vos_zoo.prompts.simulation import Click, damaged_mask, jittered_box, next_click, overlaps, tight_box
from vos_zoo.registry import describe_network
from vos_zoo.training.initial_weights import load_trunks

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRScheduler

    from vos_zoo.data.clips.dataset import ClipBatch
    from vos_zoo.data.modules.validation import VideoItem

Mask = NDArray[np.bool_]

_MEASURED = 1, 3  # prompts after which answers are measured
_CLICKED = 0.75  # of the answers get a click; the others are only looked at again, as after a first look from afar


@dataclass
class _Sample:
    """One object in its crop, with the prompts given so far."""

    image: Tensor
    truth: Mask
    box: tuple[int, int, int, int] | None = None
    clicks: tuple[Click, ...] = ()
    previous: Mask | None = None

    def maps(self) -> Tensor:
        points: dict[bool, list[list[tuple[float, float]]]] = {True: [], False: []}
        for click in self.clicks:
            points[click.is_positive].append([(click.x, click.y)])
        return torch.from_numpy(
            draw_maps(
                self.truth.shape, box=self.box, positive=points[True], negative=points[False], previous=self.previous
            )
        )


class PromptModule(pl.LightningModule):
    """A :class:`vos_zoo.prompts.network.PromptNetwork` that learns from simulated boxes and clicks.

    Every object of a batch gets a crop of its own and either a box, or clicks, or both, or a spoilt mask with a click
    that corrects it. Some then get one or two more clicks where the network's answer is most wrong, and that answer as
    the mask to be corrected. Prompts are drawn from the seed and the number of the step, so a resumed run draws the
    same.

    Args:
        config: Hyper-parameters, or the name of a size: ``small``, ``tiny``.
        learning_rate: Of AdamW.
        backbone_rate: Learning rate of the ResNet as a share of ``learning_rate``.
        weight_decay: Of AdamW.
        warmup_steps: Iterations of linear warm-up; then the rate falls to zero along a cosine.
        backbone_weights: ImageNet weights of the ResNet, see :func:`vos_zoo.training.initial_weights.load_trunks`; None
            leaves random ones.
        corrections: Share of the batches with none, one and two looks at the network's own answers before the loss.
        training_size: Side of the crops in training, in pixels; None means the size that the network sees later. Small
            ones teach faster at first.
        seed: Of the prompts.
    """

    #: There is nothing else to start from.
    initial_weights: str | None = None

    def __init__(
        self,
        config: PromptConfig | str = "small",
        *,
        learning_rate: float = 5e-4,
        backbone_rate: float = 0.2,
        weight_decay: float = 1e-4,
        warmup_steps: int = 50,
        backbone_weights: str | None = None,
        corrections: tuple[float, float, float] = (0.6, 0.3, 0.1),
        training_size: int | None = None,
        seed: int = 14159265,
    ) -> None:
        super().__init__()
        self.network = PromptNetwork(getattr(PromptConfig, config)() if isinstance(config, str) else config)
        self.learning_rate = learning_rate
        self.backbone_rate = backbone_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.backbone_weights = backbone_weights
        self.corrections = corrections
        self.training_size = self.network.config.crop_size if training_size is None else training_size
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Load the ResNet's weights, unless a checkpoint will replace them."""
        for part in self.network.modules():
            if isinstance(part, nn.Conv2d):
                part.to(memory_format=torch.channels_last)
        if stage == "fit" and self.backbone_weights is not None and self.trainer.ckpt_path is None:
            root = getattr(getattr(self.trainer, "datamodule", None), "root", None)
            load_trunks(self.network, self.backbone_weights, [Path(path) for path in (root, ".") if path is not None])

    def train(self, mode: bool = True) -> PromptModule:
        """Switch to training; the ResNet's batch normalisation keeps its ImageNet statistics."""
        super().train(mode)
        for part in self.network.trunk.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
        return self

    def on_train_start(self) -> None:
        """Lightning keeps the mode that it finds."""
        self.train()

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor | None:
        """Prompt, maybe correct, and return the loss; None if no crop shows an object."""
        rng = np.random.default_rng([self.seed, self.global_step, batch_idx])
        samples = [
            sample
            for image, mask in zip(batch["images"][:, 0], batch["masks"][:, 0], strict=True)
            if (sample := _draw_sample(image, mask.cpu().numpy() == 1, self.training_size, rng)) is not None
        ]
        if not samples:
            return None
        images = torch.stack([sample.image for sample in samples]).contiguous(memory_format=torch.channels_last)
        for _ in range(int(rng.choice(len(self.corrections), p=self.corrections))):
            with torch.no_grad():
                logits = self.network(images, self._maps(samples))
            for sample, answer in zip(samples, (logits[:, 0] > 0).cpu().numpy(), strict=True):
                click = next_click(answer, sample.truth, rng) if rng.random() < _CLICKED else None
                sample.previous = answer
                sample.clicks += () if click is None else (click,)
        logits = self.network(images, self._maps(samples))[:, 0].float()
        truth = torch.from_numpy(np.stack([sample.truth for sample in samples])).to(logits)
        loss = F.binary_cross_entropy_with_logits(logits, truth) + _overlap_loss(logits, truth)
        with torch.no_grad():
            overlap = ((logits > 0) & (truth > 0)).sum((1, 2)) / ((logits > 0) | (truth > 0)).sum((1, 2))
        self.log("train/iou", overlap.mean(), prog_bar=True)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: VideoItem, batch_idx: int) -> None:
        """Prompt every object in the first frame that shows it, and log the mean IoU (0-1) after 1 and 3 prompts."""
        self._measure(batch, "val")

    def test_step(self, batch: VideoItem, batch_idx: int) -> None:
        """Do as in validation."""
        self._measure(batch, "test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, with a rate of its own for the ResNet, and one cosine over the whole training."""
        trunk = list(self.network.trunk.backbone_parameters())
        known = {id(parameter) for parameter in trunk}
        groups: list[dict[str, Any]] = [
            {"params": [part for part in self.network.parameters() if id(part) not in known]},
            {"params": trunk, "lr": self.learning_rate * self.backbone_rate},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note what the network is, so that ``vos-zoo export`` can rebuild it from the file alone."""
        checkpoint["vos_zoo"] = describe_network(self.network)

    def _rate_factor(self, iteration: int) -> float:
        warm = min(1.0, (iteration + 1) / max(self.warmup_steps, 1))
        total = max(self.trainer.estimated_stepping_batches, 1)
        return warm * 0.5 * (1 + float(np.cos(np.pi * min(iteration / total, 1.0))))

    def _measure(self, video: VideoItem, stage: str) -> None:
        first: dict[int, int] = {}
        for index in sorted(video["annotated"]):
            for label in np.unique(video["masks"][index]):
                if label:
                    first.setdefault(int(label), index)
        for label, index in first.items():
            for kind in ("click", "box"):
                scores = overlaps(
                    video["frames"][index],
                    video["masks"][index] == label,
                    method=self.network,
                    begin_with=kind,
                    count=max(_MEASURED),
                    rng=np.random.default_rng([self.seed, label]),
                )
                for count in _MEASURED:
                    name = f"{stage}/iou_{kind}_{count}"
                    self.log(name, scores[count - 1], on_epoch=True, on_step=False, batch_size=1, sync_dist=True)

    def _maps(self, samples: list[_Sample]) -> Tensor:
        return torch.stack([sample.maps() for sample in samples]).to(self.device)


def _draw_sample(image: Tensor, mask: Mask, size: int, rng: np.random.Generator) -> _Sample | None:
    """Crop around an object, from close to it up to the whole image, and draw the first prompts."""
    if not mask.any():
        return None
    left, top, right, bottom = tight_box(mask)
    extent = max(right - left, bottom - top) + 1
    height, width = mask.shape
    side = extent * float(np.exp(rng.uniform(np.log(1.15), np.log(3.5))))
    sides = np.minimum(np.array([side, side * rng.uniform(0.85, 1.15)]), [width, height]).round().astype(int)
    centre = np.array([left + right, top + bottom]) / 2 + rng.uniform(-0.15, 0.15, 2) * extent
    x, y = np.clip(np.round(centre - sides / 2), 0, np.array([width, height]) - sides).astype(int)
    w, h = np.maximum(sides, 8)
    part = image[None, :, y : y + h, x : x + w]
    crop = F.interpolate(part, (size, size), mode="bilinear", align_corners=False, antialias=True)[0]
    truth = cv2.resize(mask[y : y + h, x : x + w].astype(np.uint8), (size, size), interpolation=cv2.INTER_LINEAR) > 0
    if rng.random() < 0.5:
        crop, truth = crop.flip(-1), np.ascontiguousarray(truth[:, ::-1])
    if truth.sum() < 16:
        return None
    sample = _Sample(crop, truth)
    kind = str(rng.choice(["box", "box and clicks", "clicks", "spoilt"], p=[0.4, 0.1, 0.4, 0.1]))
    if kind.startswith("box"):
        sample.box = jittered_box(truth, rng)
    if kind == "spoilt":
        sample.previous = damaged_mask(truth, rng)
        click = next_click(sample.previous, truth, rng)
        sample.clicks = () if click is None else (click,)
    elif kind != "box":
        sample.clicks = _first_clicks(truth, rng)
    return sample


def _first_clicks(truth: Mask, rng: np.random.Generator) -> tuple[Click, ...]:
    """One to three clicks into the object, up to two beside it."""
    nothing = np.zeros_like(truth)
    clicks = [next_click(nothing, truth, rng) for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])))]
    outside = np.flatnonzero(~truth)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.7, 0.2, 0.1])) if len(outside) else 0):
        y, x = divmod(int(rng.choice(outside)), truth.shape[1])
        clicks.append(Click(x, y, False))
    return tuple(click for click in clicks if click is not None)


def _overlap_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the soft intersection over union, averaged over the batch."""
    probability = logits.sigmoid()
    intersection = (probability * truth).sum((1, 2))
    union = (probability + truth - probability * truth).sum((1, 2))
    return (1 - (intersection + 1) / (union + 1)).mean()
