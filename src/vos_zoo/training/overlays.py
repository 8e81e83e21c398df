"""Images of validation videos with the predicted masks, to look at while training runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from vos_zoo.files import atomic_path
from vos_zoo.media.overlay import draw_overlay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from vos_zoo.data.modules.validation import VideoItem
    from vos_zoo.training.module import VideoMasks

FOLDER = "overlays"

_logger = logging.getLogger(__name__)


class SampleOverlays(pl.Callback):
    """Lightning callback that keeps an image of each of the first validation videos at every validation.

    The image is the last scored frame, where mistakes have had most time to grow. It goes to TensorBoard where that
    is one of the Trainer's loggers, and as ``overlays/<video>-<iteration>.png`` into the run folder otherwise.

    Args:
        videos: Number of videos.
    """

    def __init__(self, videos: int = 4) -> None:
        super().__init__()
        self.videos = videos
        self._folder = Path()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the run folder, which all processes have to ask for together."""
        del pl_module
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / FOLDER

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: VideoItem,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw one video."""
        if batch_idx >= self.videos or trainer.sanity_checking or not trainer.is_global_zero:
            return
        made = cast("VideoMasks", outputs)
        picture = draw_overlay(batch["frames"][made["frames"][-1]], made["masks"][-1])
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        for board in boards:
            experiment: Any = board.experiment
            experiment.add_image(f"val/{batch['name']}", picture, trainer.global_step, dataformats="HWC")
        if not boards:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{batch['name'].replace('/', '_')}-{trainer.global_step}.png"
            with atomic_path(path) as partial:
                Image.fromarray(picture).save(partial, format="PNG")
