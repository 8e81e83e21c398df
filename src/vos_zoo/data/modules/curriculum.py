"""The frame gap of training clips, growing and shrinking in the course of training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import ceil

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from vos_zoo.data.modules.base import ClipDataModule
from vos_zoo.errors import ConfigError


def gap_at(
    progress: float,
    gaps: Sequence[int] = (5, 10, 15, 20, 25, 5),
    milestones: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.9),
) -> int:
    """Return the largest frame gap at a point of training.

    Args:
        progress: Share of the training that is done, 0-1.
        gaps: One more gap than milestones, in frames.
        milestones: Rising shares at which the next gap begins.

    Source: clip sampling of STCN and RDE-VOS.

    Example:
        >>> [gap_at(share) for share in (0, 0.1, 0.25, 0.5, 0.95)]
        [5, 10, 15, 25, 5]
    """
    return gaps[sum(progress >= milestone for milestone in milestones)]


class GapCurriculum(pl.Callback):
    """Lightning callback that lets the frame gap of the data module's clips follow the progress of training.

    The gap of a clip depends on its place in training alone, so that clips which are prepared ahead, and those of a
    run that is resumed, are the same; only where a ``Timer`` limits training it depends on the time of its making.

    Args:
        gaps: One more gap than milestones, in frames.
        milestones: Rising shares of the training (0-1) at which the next gap begins.

    Raises:
        ConfigError: If the numbers do not fit together.
    """

    def __init__(
        self, gaps: Sequence[int] = (5, 10, 15, 20, 25, 5), milestones: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.9)
    ) -> None:
        super().__init__()
        if (
            len(gaps) != len(milestones) + 1
            or min(gaps) < 1
            or list(milestones) != sorted(milestones)
            or not all(0 < milestone < 1 for milestone in milestones)
        ):
            raise ConfigError(
                f"Gap curriculum has gaps {list(gaps)} and milestones {list(milestones)}. Expected gaps of at least "
                "1 frame, one more than milestones, and rising milestones between 0 and 1."
            )
        self.gaps = tuple(gaps)
        self.milestones = tuple(milestones)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Return the data module the schedule, before it makes its first clip."""
        # Lightning sets the attribute only when it was given a data module; other data have no gap to set.
        data = getattr(trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, ClipDataModule):
            data.gap_schedule = partial(self.gap_of, trainer)

    def gap_of(self, trainer: pl.Trainer, epoch: int, batch: int, batches: int) -> int:
        """Return the gap of the clips of a batch.

        Args:
            trainer: Says when training ends, and how many batches make an iteration.
            epoch: Number of the epoch.
            batch: Number of the batch in it.
            batches: Batches of an epoch.
        """
        accumulated = trainer.accumulate_grad_batches
        iteration = epoch * ceil(batches / accumulated) + batch // accumulated
        return gap_at(_progress(trainer, epoch, iteration), self.gaps, self.milestones)


def _progress(trainer: pl.Trainer, epoch: int, iteration: int) -> float:
    """Share of training that is done by its nearest limit (iterations, epochs or time); 0 without limits."""
    shares = [0.0]
    if trainer.max_steps > 0:
        shares.append(iteration / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        shares.append(epoch / trainer.max_epochs)
    timer = next((callback for callback in _callbacks(trainer) if isinstance(callback, Timer)), None)
    remaining = None if timer is None else timer.time_remaining()
    if timer is not None and remaining is not None:
        shares.append(timer.time_elapsed() / max(timer.time_elapsed() + remaining, 1e-9))
    return min(max(shares), 1.0)


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    # The attribute is public and documented, but Lightning sets it where type checkers do not see it.
    callbacks: list[pl.Callback] = vars(trainer)["callbacks"]
    return callbacks
