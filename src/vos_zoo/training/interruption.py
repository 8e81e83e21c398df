"""A checkpoint to resume from when training is stopped from outside."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType

import pytorch_lightning as pl

from vos_zoo.errors import RunStoppedError

CHECKPOINT_NAME = "interrupted.ckpt"

_logger = logging.getLogger(__name__)


class SaveOnInterruption(pl.Callback):
    """Lightning callback that ends training with a checkpoint on Ctrl-C and SIGTERM.

    The running iteration is finished first (or the running validation and one more iteration), and the gradients that
    are being accumulated, so that a run resumed from the checkpoint gets the weights of an uninterrupted one.
    A second signal stops at once. On several devices a signal to one of them stops all.

    Raises:
        RunStoppedError: From within ``fit``; names the checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._signal: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over both signals; the Trainer gives them back when it ends."""
        self._signal = None
        # By now Lightning has set its own handler for SIGTERM, which starts a collective inside the handler, and stops
        # in the middle of an accumulation.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)
            signal.signal(signal.SIGINT, self._note)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save and stop, if a signal has come and the weights have just been updated."""
        is_last = trainer.num_training_batches == batch_idx + 1
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not is_last:
            return
        if not trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False):
            return
        path = _checkpoint_folder(trainer) / CHECKPOINT_NAME
        trainer.save_checkpoint(path)
        raise RunStoppedError(
            f"Training was stopped after {trainer.global_step} iterations. Continue with `--ckpt_path {path}`.",
            signal_number=self._signal or signal.SIGTERM,
        )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget a signal that came too late to stop anything."""
        self._signal = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._signal = number
        _logger.warning("Stopping after this iteration, with a checkpoint; a second signal stops at once.")


def _checkpoint_folder(trainer: pl.Trainer) -> Path:
    keeper = trainer.checkpoint_callback
    folder = getattr(keeper, "dirpath", None) or Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"
    return Path(folder)
