"""Publish the best weights of a training run."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from vos_zoo.errors import ConfigError, VosZooError
from vos_zoo.registry import Score, describe_network, find_architecture
from vos_zoo.version import __version__
from vos_zoo.weights import hub
from vos_zoo.weights.card import CardFacts, new_card
from vos_zoo.weights.checkpoint import CARD_FILE
from vos_zoo.weights.export import export_checkpoint
from vos_zoo.weights.publish import publish_checkpoint
from vos_zoo.weights.training_checkpoint import read_training_checkpoint

if TYPE_CHECKING:
    from vos_zoo.training.module import VOSModule
    from vos_zoo.weights.publish import Publication

__all__ = ["PushBestToHub"]

_MEASURES = ("val/jf_mean", "val/j_mean", "val/f_mean")

_logger = logging.getLogger(__name__)


class PushBestToHub(pl.Callback):
    """Lightning callback that publishes a run's best weights on the Hugging Face Hub when training ends.

    The best ones are those of the run's ``ModelCheckpoint`` with a ``monitor``; without such a callback, those of the
    last checkpoint. The repository is created before training begins, so that a missing token or right shows at once
    and not after days. If publishing fails in the end, nothing is lost: the message says how to do it by hand.

    Args:
        repo_id: ``owner/name``.
        private: Only people with access may see the repository; an existing public one is then refused.
        licence: Licence of the weights: an identifier of the Hub, such as ``apache-2.0``, or words of its own.
        overwrite_card: Replace a card that somebody wrote or edited on the Hub.

    Attributes:
        publication: What was published; None before.
    """

    def __init__(
        self, repo_id: str, *, private: bool = True, licence: str | None = None, overwrite_card: bool = False
    ) -> None:
        super().__init__()
        self.repo_id = repo_id
        self.private = private
        self.licence = licence
        self.overwrite_card = overwrite_card
        self.publication: Publication | None = None
        self._measured: dict[int, tuple[float, float, float]] = {}  # J&F, J and F in percent by iteration

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make sure before training that there will be something to publish, and a place for it."""
        if stage != "fit" or not self._acts(trainer):
            return
        if not trainer.checkpoint_callbacks:
            raise ConfigError(
                "PushBestToHub publishes a checkpoint of the run, but checkpoints are switched off. Leave "
                "`trainer.enable_checkpointing` on, or publish by hand with `vos-zoo publish`."
            )
        hub.open_remote(self.repo_id, private=self.private)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember what the model reaches at this iteration."""
        found = trainer.callback_metrics
        if all(name in found for name in _MEASURES):
            j_and_f, j, f = (round(100 * float(found[name]), 2) for name in _MEASURES)
            self._measured[trainer.global_step] = (j_and_f, j, f)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Publish the best checkpoint."""
        if not self._acts(trainer):
            return
        best = self._best(trainer)
        if best is None:
            _logger.warning("The run wrote no checkpoint, so nothing was published to %s.", self.repo_id)
            return
        module: VOSModule = pl_module  # type: ignore[assignment]  # the command line trains no other modules
        try:
            self.publication = self._publish(best, module)
        except VosZooError as error:
            error.args = (
                f"{error.args[0]} The weights are safe in {best}; publish them with `vos-zoo export {best} --out DIR` "
                f"and `vos-zoo publish DIR --repo-id {self.repo_id}`.",
            )
            raise
        _logger.warning("Published %s; load it with load_model(%r).", best, self.publication.name)

    def _acts(self, trainer: pl.Trainer) -> bool:
        # A fast development run tries the code and has no result; of several processes one publishes.
        return trainer.is_global_zero and not vars(trainer).get("fast_dev_run", False)

    def _best(self, trainer: pl.Trainer) -> Path | None:
        """Return the best checkpoint that is still on the disk."""
        writers = [writer for writer in trainer.checkpoint_callbacks if isinstance(writer, ModelCheckpoint)]
        writers.sort(key=lambda writer: writer.monitor is None)  # stable: those that judge come first
        paths = [Path(path) for writer in writers for path in (writer.best_model_path, writer.last_model_path) if path]
        return next((path for path in paths if path.is_file()), None)

    def _publish(self, best: Path, module: VOSModule) -> Publication:
        architecture = find_architecture(describe_network(module.network)["architecture"])
        step = read_training_checkpoint(best).iterations
        values = self._measured.get(step)
        protocol = f"{module.val_scores.protocol.name}, videos at size {module.evaluation_size}"
        scores = () if values is None else (Score("validation videos", *values, protocol),)
        facts = CardFacts(self.repo_id.rpartition("/")[2], architecture, self.licence, scores=scores)
        story = f"Trained with vos_zoo {__version__}; these are the weights after {step} iterations."
        with tempfile.TemporaryDirectory() as place:
            folder = export_checkpoint(best, Path(place) / "checkpoint")
            (folder / CARD_FILE).write_text(new_card(facts, story=story), encoding="utf-8")
            return publish_checkpoint(
                folder,
                self.repo_id,
                private=self.private,
                overwrite_card=self.overwrite_card,
                facts=facts,
                message=f"Publish the weights after {step} iterations",
            )
