"""Contract 2: the LightningModule around a network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vos_zoo.errors import ConfigError
from vos_zoo.inference.session import VideoSession
from vos_zoo.losses import BootstrappedCrossEntropy
from vos_zoo.metrics import JAndF
from vos_zoo.models.initial_weights import load_initial_weights, load_trunks
from vos_zoo.models.pretrained import Pretrained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_lightning.utilities.types import OptimizerLRScheduler

    from vos_zoo.data.validation import VideoItem
    from vos_zoo.inference.segment import SegmentationReport
    from vos_zoo.models.base import VOSNetwork

ConfigT = TypeVar("ConfigT")


class TrainingBatch(TypedDict):
    """What the DataModules give to a training step.

    ``images`` (B, T, 3, H, W) normalised; ``masks`` (B, T, H, W) with 0 for background and plane + 1 for objects;
    ``valid_objects`` (B, O), existing planes first; ``first_masks`` (B, O, H, W) in [0, 1], the masks the first frame
    is memorised with, perturbed if the data source perturbs; ``name`` of every clip.
    """

    images: Tensor
    masks: Tensor
    valid_objects: Tensor
    first_masks: Tensor
    name: list[str]


def resolve_config(
    config_class: type[ConfigT], config: ConfigT | str, overrides: Mapping[str, Any] | None = None
) -> ConfigT:
    """Return a configuration from an object or the name of a variant, with some fields replaced.

    Raises:
        ConfigError: If the variant or a field does not exist.
    """
    if isinstance(config, str):
        variant = getattr(config_class, config, None)
        if config.startswith("_") or not callable(variant):
            raise ConfigError(f"{config_class.__name__} has no variant {config!r}. Expected r50, small or tiny.")
        resolved: ConfigT = variant()
    else:
        resolved = config
    if not overrides:
        return resolved
    known = {field.name for field in dataclasses.fields(resolved)}  # type: ignore[arg-type]
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ConfigError(
            f"{config_class.__name__} has no field {', '.join(unknown)}. Fields: {', '.join(sorted(known))}."
        )
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in overrides.items()}
    return dataclasses.replace(resolved, **values)  # type: ignore[type-var]


class VOSModule(Pretrained, pl.LightningModule):
    """A network with its training, validation and prediction.

    Args:
        network: The paper's network.
        learning_rate: Adam's learning rate.
        weight_decay: L2 term added to gradients (not decoupled, as in the papers' code).
        milestones: Iterations at which the learning rate falls to a tenth.
        warmup_steps: Iterations of linear warm-up.
        final_decay: Share of training at its end over which the learning rate falls linearly to zero.
        backbone_weights: ImageNet weights of the encoders for training from scratch: a safetensors file, relative to
            the data root or the working directory; ``timm`` downloads timm's. None keeps random ones.
        initial_weights: Weights to start from: a zoo checkpoint folder or a Lightning checkpoint.
        channels_last: Store convolution weights channels-last while training, faster on most devices.
        bootstrap_start: Iteration at which easy pixels begin to be left out of the loss.
        bootstrap_end: Iteration at which only the hardest 15 % count.
        evaluation_size: Size of validation and test videos as the network sees them, see ``vos_zoo.VideoSession``.

    Attributes:
        network: The network; everything else of this class is about training and convenience.
    """

    #: Batch normalisation keeps its ImageNet statistics; its affine parameters are trained (STM, STCN, RDE-VOS).
    freezes_batch_norm: ClassVar[bool] = True

    def __init__(
        self,
        network: VOSNetwork[Any, Any],
        *,
        learning_rate: float = 1e-5,
        weight_decay: float = 1e-7,
        milestones: Sequence[int] = (),
        warmup_steps: int = 0,
        final_decay: float = 0.0,
        backbone_weights: str | None = None,
        initial_weights: str | None = None,
        channels_last: bool = True,
        bootstrap_start: int = 20_000,
        bootstrap_end: int = 70_000,
        evaluation_size: int | tuple[int, int] | Literal["native"] | None = "native",
    ) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.milestones = tuple(milestones)
        self.warmup_steps = warmup_steps
        self.final_decay = final_decay
        self.backbone_weights = backbone_weights
        self.initial_weights = initial_weights
        self.channels_last = channels_last
        self.cross_entropy = BootstrappedCrossEntropy(bootstrap_start, bootstrap_end)
        self.evaluation_size = evaluation_size
        self.val_scores = JAndF()
        self.test_scores = JAndF()

    def setup(self, stage: str) -> None:
        """Load the weights that training starts from, unless it resumes a checkpoint."""
        if stage != "fit" or self.trainer.ckpt_path is not None:
            return
        data_root = getattr(getattr(self.trainer, "datamodule", None), "root", None)
        roots = [Path(root) for root in (data_root, ".") if root is not None]
        if self.initial_weights is not None:
            load_initial_weights(self.network, self.initial_weights, roots)
        elif self.backbone_weights is not None:
            load_trunks(self.network, self.backbone_weights, roots)
        if self.channels_last:
            for part in self.network.modules():
                if isinstance(part, nn.Conv2d):
                    part.to(memory_format=torch.channels_last)

    def on_train_start(self) -> None:
        """Freeze batch statistics: Lightning keeps the mode it finds and calls no ``train()`` of its own."""
        self.train()

    def train(self, mode: bool = True) -> VOSModule:
        """Switch to training; frozen batch normalisation stays in evaluation mode."""
        super().train(mode)
        if self.freezes_batch_norm:
            for part in self.network.modules():
                if isinstance(part, _BatchNorm):
                    part.eval()
        return self

    def segmentation_loss(self, logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
        """Average the bootstrapped cross-entropy over clips; planes that hold no object are left out.

        Args:
            logits: Aggregated, shape (B, O + 1, H, W).
            masks: Object per pixel, shape (B, H, W).
            valid: Which planes hold an object, existing ones first, shape (B, O).
        """
        counts = valid.sum(dim=1).tolist()
        return torch.stack(
            [
                self.cross_entropy(sample[: 1 + int(count)], mask, self.global_step)
                for sample, mask, count in zip(logits, masks, counts, strict=True)
            ]
        ).mean()

    def log_loss(self, loss: Tensor) -> Tensor:
        """Log the total training loss and return it."""
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam and a schedule that is stepped on every iteration."""
        optimizer = torch.optim.Adam(
            [parameter for parameter in self.network.parameters() if parameter.requires_grad],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def validation_step(self, batch: VideoItem, batch_idx: int) -> None:
        """Segment a whole video and score it."""
        self._score(batch, self.val_scores)

    def on_validation_epoch_end(self) -> None:
        """Log J, F and J&F in 0-1 over all validation videos."""
        self._log_scores(self.val_scores, "val")

    def test_step(self, batch: VideoItem, batch_idx: int) -> None:
        """Segment a whole video and score it."""
        self._score(batch, self.test_scores)

    def on_test_epoch_end(self) -> None:
        """Log J, F and J&F in 0-1 over all test videos."""
        self._log_scores(self.test_scores, "test")

    def session(self, **options: Any) -> VideoSession:
        """Start a session for one video; ``options`` are those of ``vos_zoo.VideoSession``."""
        return VideoSession(self, **options)

    def segment(self, video: str | Path, masks: str | Path, *, out: str | Path, **options: Any) -> SegmentationReport:
        """Segment a video file or folder and write its masks; ``options`` are those of ``vos_zoo.segment_video``."""
        from vos_zoo.inference.segment import segment_video  # loads readers and writers, which training does not need

        return segment_video(video, masks, out=out, model=self, **options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the architecture, so that ``vos-zoo export`` can rebuild the network from the file alone."""
        from vos_zoo.hub import describe_network  # the hub builds modules; it cannot be imported above

        checkpoint["vos_zoo"] = describe_network(self.network)

    def _score(self, video: VideoItem, scores: JAndF) -> None:
        session = self.session(size=self.evaluation_size)
        known: set[int] = set()
        predictions = []
        for frame, annotation in zip(video["frames"], video["masks"], strict=True):
            newcomers = sorted(set(np.unique(annotation).tolist()) - known - {0})
            known.update(newcomers)
            mask = np.where(np.isin(annotation, newcomers), annotation, 0).astype(np.int32) if newcomers else None
            predictions.append(session.step(frame, mask).mask)
        scores.update(np.stack(predictions), np.asarray(video["masks"]), sequence=video["name"])

    def _log_scores(self, scores: JAndF, stage: str) -> None:
        if scores.update_called:
            values = scores.compute()
            for name in ("jf_mean", "j_mean", "f_mean"):
                self.log(f"{stage}/{name}", values[name], prog_bar=name == "jf_mean", sync_dist=False)
            scores.reset()

    def learning_rate_factor(self, iteration: int) -> float:
        """Return the factor on the learning rate at an iteration (0-based)."""
        factor: float = 0.1 ** sum(iteration >= milestone for milestone in self.milestones)
        if iteration < self.warmup_steps:
            factor *= (iteration + 1) / self.warmup_steps
        if self.final_decay > 0:
            total = self.trainer.estimated_stepping_batches
            factor *= min(1.0, max(0.0, (total - iteration) / (self.final_decay * total)))
        return factor
