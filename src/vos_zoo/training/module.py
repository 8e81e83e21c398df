"""Contract 2: the LightningModule around a network."""

from __future__ import annotations

import logging
import pickle  # for the name of its error only
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypedDict, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only, rank_zero_warn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vos_zoo.configs import check_choice, config_from_dict, config_to_dict
from vos_zoo.data.modules.prediction import Newcomers
from vos_zoo.devices import computes_in
from vos_zoo.errors import ConfigError, UsageError
from vos_zoo.inference.late_results import fetch_results
from vos_zoo.inference.session import VideoSession
from vos_zoo.inference.sizes import check_size
from vos_zoo.layers import ResNetTrunk
from vos_zoo.metrics import JAndF
from vos_zoo.network import not_called
from vos_zoo.registry import describe_network
from vos_zoo.training.initial_weights import load_initial_weights, load_trunks
from vos_zoo.training.losses import BootstrappedCrossEntropy
from vos_zoo.training.prediction import VideoPrediction
from vos_zoo.training.sharing import Pretrained
from vos_zoo.weights.torch_files import unpickling_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from typing_extensions import Self

    from vos_zoo.data.clips.dataset import ClipBatch
    from vos_zoo.data.modules.prediction import PredictionVideo
    from vos_zoo.data.modules.validation import VideoItem
    from vos_zoo.inference.arithmetic import Precision
    from vos_zoo.inference.result import PendingResult
    from vos_zoo.network import VOSNetwork

ConfigT = TypeVar("ConfigT")
EvaluationFrames = Literal["all", "annotated"]

_LOGGER = logging.getLogger(__name__)
_TRAINING_SEED = "training_seed"

# Of the Trainer's names; the rest of them train and evaluate in float32.
_SESSION_PRECISION: dict[str, Precision] = {"bf16-mixed": "bf16", "16-mixed": "fp16"}


class VideoMasks(TypedDict):
    """Predicted masks of a video.

    ``frames`` are the numbers of the frames that were scored, from 0; ``masks`` are their object ids, integers, of
    shape (len(frames), H, W).
    """

    frames: list[int]
    masks: NDArray[np.integer[Any]]


def resolve_config(
    config_class: type[ConfigT], config: ConfigT | str, overrides: Mapping[str, Any] | None = None
) -> ConfigT:
    """Return a configuration from an object or the name of a variant, with some fields replaced.

    Raises:
        ConfigError: If the variant or a field does not exist, or a value has the wrong type.
    """
    if isinstance(config, str):
        variant = getattr(config_class, config, None)
        if config.startswith("_") or not callable(variant):
            variants = [
                name for name, part in vars(config_class).items() if isinstance(part, classmethod) and name[0] != "_"
            ]
            raise ConfigError(f"{config_class.__name__} has no variant {config!r}. It has {', '.join(variants)}.")
        resolved: ConfigT = variant()
    else:
        resolved = config
    if not overrides:
        return resolved
    return config_from_dict(type(resolved), {**config_to_dict(resolved), **overrides}, where="overrides")


@rank_zero_only
def _warn_of_random_encoders(module: str) -> None:
    _LOGGER.warning(
        "%s starts from random encoders, whose batch normalisation is frozen: nothing scales what they compute. The "
        "papers start from trained ones: name them with `--model.backbone_weights timm` or `--model.initial_weights`; "
        "`--model.backbone_weights random` confirms this.",
        module,
    )


class VOSModule(Pretrained, pl.LightningModule):
    """A network with its training, validation and prediction.

    Args:
        network: The paper's network.
        learning_rate: Adam's learning rate.
        backbone_rate: Learning rate of the ResNet trunks as a share of ``learning_rate``.
        part_rates: Learning rates of other parts of the network, by name, as shares of ``learning_rate``: a part with
            few parameters may need larger steps (``{pixel_division: 30}``).
        weight_decay: L2 term added to gradients (not decoupled, as in the papers' code).
        milestones: Iterations at which the learning rate falls to a tenth.
        warmup_steps: Iterations of linear warm-up.
        final_decay: Share of training at its end over which the learning rate falls linearly to zero.
        backbone_weights: ImageNet weights of the encoders for training from scratch: a safetensors file, relative to
            the data root or the working directory; ``timm`` downloads those that the papers start from (see
            ``load_trunks``); ``random`` keeps random ones on purpose, None keeps them with a warning.
        initial_weights: Weights to start from: a name of ``vos-zoo list --weights``, a zoo checkpoint folder or a
            Lightning checkpoint, or several, of which each parameter comes from the first that has it. Validation, test
            and prediction use them too, unless a checkpoint is given.
        frozen: Parts of the network that keep their weights, by name (``key_encoder``); ``batch_norm`` means the scales
            and offsets of all batch normalisations.
        channels_last: Store convolution weights channels-last while training, faster on most devices.
        bootstrap_start: Iteration at which easy pixels begin to be left out of the loss.
        bootstrap_end: Iteration at which only the hardest 15 % count.
        evaluation_size: Size of validation and test videos as the network sees them, see ``vos_zoo.VideoSession``.
        evaluation_frames: Which of their frames are segmented: ``all``, or only the ``annotated`` ones, which is quick
            where few are, and harder, since objects jump.
        evaluation_protocol: Which frames and objects of them count: ``davis2017``, ``davis2016`` or ``youtube-vos``.

    Attributes:
        network: The network; everything else of this class is about training and convenience.

    Raises:
        ConfigError: If the network has no part of a name in ``frozen`` or ``part_rates``, or an option is none
            of its choices.
    """

    #: Batch normalisation keeps its ImageNet statistics; its affine parameters are trained (STM, STCN, RDE-VOS).
    freezes_batch_norm: ClassVar[bool] = True

    def __init__(
        self,
        network: VOSNetwork[Any, Any],
        *,
        learning_rate: float = 1e-5,
        backbone_rate: float = 1.0,
        part_rates: dict[str, float] | None = None,
        weight_decay: float = 1e-7,
        milestones: Sequence[int] = (),
        warmup_steps: int = 0,
        final_decay: float = 0.0,
        backbone_weights: str | None = None,
        initial_weights: str | list[str] | None = None,
        frozen: Sequence[str] = (),
        channels_last: bool = True,
        bootstrap_start: int = 20_000,
        bootstrap_end: int = 70_000,
        evaluation_size: int | tuple[int, int] | Literal["native"] | None = "native",
        evaluation_frames: EvaluationFrames = "all",
        evaluation_protocol: Literal["davis2017", "davis2016", "youtube-vos"] = "davis2017",
    ) -> None:
        check_size(evaluation_size)
        check_choice("evaluation_frames", evaluation_frames, EvaluationFrames)
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.backbone_rate = backbone_rate
        self.part_rates = dict(part_rates or {})
        self.weight_decay = weight_decay
        self.milestones = tuple(milestones)
        self.warmup_steps = warmup_steps
        self.final_decay = final_decay
        self.backbone_weights = backbone_weights
        self.initial_weights = initial_weights
        self.channels_last = channels_last
        self.cross_entropy = BootstrappedCrossEntropy(bootstrap_start, bootstrap_end)
        self.evaluation_size = evaluation_size
        self.evaluation_frames = evaluation_frames
        self.val_scores = JAndF(protocol=evaluation_protocol)
        self.test_scores = JAndF(protocol=evaluation_protocol)
        self._has_weights = False
        self._training_seed: int | None = None
        self._begun = (-1, 0)  # the current iteration, and its batches so far
        for name in frozen:
            self._freeze(name)
        for name in self.part_rates:
            self._parts(name)

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Load a checkpoint of a training run, as Lightning does, but never in a way that lets it run code.

        Args:
            checkpoint_path: Path, address or open file.
            map_location: As for ``torch.load``.
            hparams_file: File of constructor arguments that replace those in the checkpoint.
            strict: Whether all keys have to fit; None means the module's own ``strict_loading``.
            weights_only: True or None.
            **kwargs: Constructor arguments that replace those in the checkpoint.

        Raises:
            ConfigError: If ``weights_only`` is False.
            CheckpointError: If the checkpoint wants to run code, or is damaged.
        """
        if weights_only is False:
            raise ConfigError(
                "load_from_checkpoint was called with weights_only=False. A checkpoint could then run code while it is "
                "read. Leave the argument out; checkpoints of this package hold nothing that needs it."
            )
        try:
            # Lightning's own default lets a checkpoint that it fetches from a server run code.
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only=True, **kwargs
            )
        except pickle.UnpicklingError as error:
            raise unpickling_error(error, str(checkpoint_path)) from error

    def setup(self, stage: str) -> None:
        """Load the weights to start from, unless a checkpoint will replace them, or weights have been trained since."""
        if stage == "fit" and self.channels_last:
            for part in self.network.modules():
                if isinstance(part, nn.Conv2d):
                    part.to(memory_format=torch.channels_last)
        if self._has_weights or self.trainer.ckpt_path is not None:
            self._has_weights = True
            return
        roots = self.search_roots()
        if self.initial_weights is not None:
            load_initial_weights(self.network, self.initial_weights, roots, is_whole=stage != "fit")
            self._has_weights = True
        elif stage == "fit":
            self._has_weights = self.load_start(roots)
            if not self._has_weights and self.freezes_batch_norm:
                _warn_of_random_encoders(type(self).__name__)

    def search_roots(self) -> list[Path]:
        """Return the folders that relative paths are looked up in: the data root, and the working directory."""
        data_root = getattr(getattr(self.trainer, "datamodule", None), "root", None)
        return [Path(root) for root in (data_root, ".") if root is not None]

    def load_start(self, roots: Sequence[Path]) -> bool:
        """Load the weights that training from scratch starts from, as far as the arguments name any.

        Args:
            roots: Folders that relative paths are looked up in.

        Returns:
            Whether they name a start.
        """
        if self.backbone_weights not in (None, "random"):
            load_trunks(self.network, self.backbone_weights, roots)
        return self.backbone_weights is not None

    def on_fit_start(self) -> None:
        """Say so before hours are lost, if the processor has to emulate the run's precision."""
        precision = str(self.trainer.precision)
        if precision.startswith("bf16") and not computes_in(torch.bfloat16, self.device):
            rank_zero_info(
                "This processor has no bfloat16: precision %s is many times slower on it than float32. Stop and add "
                "--trainer.precision 32-true.",
                precision,
            )

    def on_train_start(self) -> None:
        """Freeze batch statistics: Lightning keeps the mode it finds and calls no ``train()`` of its own."""
        self.train()
        if self._training_seed is None:
            # Of the first process: the others may have a seed of their own.
            self._training_seed = self.trainer.strategy.broadcast(torch.initial_seed())

    def on_train_batch_start(self, batch: ClipBatch, batch_idx: int) -> None:
        """Seed what the step draws at random by the step's number, so that resumed training draws the same."""
        assert self._training_seed is not None, "on_train_start comes first"
        iteration, batches = self._begun
        self._begun = (self.global_step, batches + 1 if iteration == self.global_step else 0)
        # Alike on all devices: HS2S's clips have to be equally long where devices share batch statistics.
        sequence = np.random.SeedSequence([self._training_seed % 2**64, *self._begun])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

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
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, with rates of their own for trunks and parts, and a schedule that is stepped on every iteration."""
        optimizer = torch.optim.Adam(self.rate_groups(), lr=self.learning_rate, weight_decay=self.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def rate_groups(self) -> list[dict[str, Any]]:
        """Return what is trained, grouped by learning rate."""
        shares: dict[nn.Parameter, float] = {}
        for trunk in self.network.modules():
            if isinstance(trunk, ResNetTrunk):
                shares.update((parameter, self.backbone_rate) for parameter in trunk.backbone_parameters())
        for name, share in self.part_rates.items():
            for part in self._parts(name):
                shares.update((parameter, share) for parameter in part.parameters())
        groups: dict[float, list[nn.Parameter]] = {1.0: []}  # the usual rate comes first
        for parameter in self.network.parameters():
            if parameter.requires_grad:
                groups.setdefault(shares.get(parameter, 1.0), []).append(parameter)
        return [{"params": group, "lr": self.learning_rate * share} for share, group in groups.items() if group]

    def validation_step(self, batch: VideoItem, batch_idx: int) -> VideoMasks:
        """Segment a whole video and score it; returns the masks that were scored."""
        return self._score(batch, self.val_scores)

    def on_validation_epoch_end(self) -> None:
        """Log J, F and J&F in 0-1 over all validation videos."""
        self._log_scores(self.val_scores, "val")

    def test_step(self, batch: VideoItem, batch_idx: int) -> VideoMasks:
        """Segment a whole video and score it; returns the masks that were scored."""
        return self._score(batch, self.test_scores)

    def on_test_epoch_end(self) -> None:
        """Log J, F and J&F in 0-1 over all test videos."""
        self._log_scores(self.test_scores, "test")

    def predict_step(self, batch: PredictionVideo, batch_idx: int) -> VideoPrediction:
        """Return the masks of a whole video, which are computed while they are taken, as ``PredictionWriter`` does."""
        return VideoPrediction(batch, self._evaluation_session)

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to be called: one frame alone has no masks to follow.

        Raises:
            UsageError: Always; the message says what to call.
        """
        raise UsageError(not_called(self))

    def session(self, **options: Any) -> VideoSession:
        """Start a session for one video; ``options`` are those of ``vos_zoo.VideoSession``."""
        return VideoSession(self, **options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the architecture, so that the network can be rebuilt from the file alone, and the seed of training."""
        checkpoint["vos_zoo"] = describe_network(self.network)
        checkpoint[_TRAINING_SEED] = self._training_seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the seed of training."""
        self._training_seed = checkpoint.get(_TRAINING_SEED)

    def _evaluation_session(self) -> VideoSession:
        trainer = self._trainer  # the public attribute raises an error where there is none
        precision: Precision = "fp32" if trainer is None else _SESSION_PRECISION.get(str(trainer.precision), "fp32")
        return self.session(size=self.evaluation_size, precision=precision)

    def _score(self, video: VideoItem, scores: JAndF) -> VideoMasks:
        session = self._evaluation_session()
        results = fetch_results(self._evaluation_steps(video, session), is_late=session.works_ahead)
        predictions = {index: result.mask for index, result in results if result is not None}
        frames, masks = list(predictions), np.stack(list(predictions.values()))
        scores.update(masks, np.stack([video["masks"][frame] for frame in frames]), sequence=video["name"])
        return {"frames": frames, "masks": masks}

    def _evaluation_steps(self, video: VideoItem, session: VideoSession) -> Iterator[tuple[int, PendingResult | None]]:
        """Give the frames to a session; results of annotated ones are wanted."""
        newcomers = Newcomers()
        annotated = set(video["annotated"])
        for index, (frame, annotation) in enumerate(zip(video["frames"], video["masks"], strict=True)):
            if index in annotated:
                yield index, session.submit(frame, newcomers.given(annotation))
            elif self.evaluation_frames != "annotated":
                session.submit(frame)
                yield index, None

    def _log_scores(self, scores: JAndF, stage: str) -> None:
        if scores.update_called:
            values = scores.compute()
            if values["jf_mean"].isnan():
                left_out = "first and the last annotated frame" if scores.protocol.skips_last else "first one"
                rank_zero_warn(
                    f"The {stage} videos have no frame that counts: protocol {scores.protocol.name} leaves the "
                    f"{left_out} of an object out. Expected more frames with its mask; give longer videos, or raise "
                    "validation_frames."
                )
            for name in ("jf_mean", "j_mean", "f_mean"):
                # The metric has gathered the scores of all devices; equal values need no further reduction.
                self.log(f"{stage}/{name}", values[name].float(), prog_bar=name == "jf_mean", sync_dist=True)
            scores.reset()

    def _freeze(self, name: str) -> None:
        for part in self._parts(name):
            part.requires_grad_(False)

    def _parts(self, name: str) -> list[nn.Module]:
        if name == "batch_norm":
            parts: list[nn.Module] = [part for part in self.network.modules() if isinstance(part, _BatchNorm)]
        else:
            parts = [part for path, part in self.network.named_modules() if path == name]
        if not parts:
            known = ", ".join(path for path, _ in self.network.named_children())
            raise ConfigError(
                f"{type(self.network).__name__} has no part {name!r} to be frozen or to learn at its own rate. Its "
                f"parts: {known}; batch_norm means all batch normalisations."
            )
        return parts

    def learning_rate_factor(self, iteration: int) -> float:
        """Return the factor on the learning rate at an iteration (0-based)."""
        factor: float = 0.1 ** sum(iteration >= milestone for milestone in self.milestones)
        if iteration < self.warmup_steps:
            factor *= (iteration + 1) / self.warmup_steps
        if self.final_decay > 0:
            total = self.trainer.estimated_stepping_batches
            factor *= min(1.0, max(0.0, (total - iteration) / (self.final_decay * total)))
        return factor
