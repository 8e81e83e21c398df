"""Writes predictions as the benchmarks want them: a folder of masks per video, and a zip to hand in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import SIGTERMException
from tqdm import tqdm

from vos_zoo.errors import ConfigError, OutputExistsError, OutputInUseError, VosZooError
from vos_zoo.files import LOCK_FILE, PARTIAL_SUFFIX, atomic_path, check_outputs, folder_lock
from vos_zoo.media.writer import MaskWriter
from vos_zoo.run_file import RUN_FILE, changed_settings
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from vos_zoo.data.modules.prediction import Layout, PredictionVideo
    from vos_zoo.training.prediction import VideoPrediction

ARCHIVE_FILE = "submission.zip"
"""All masks as the benchmark's server takes them."""

# YouTube-VOS takes Annotations/<video>/<frame>.png, DAVIS <video>/<frame>.png.
_VIDEOS_FOLDER: dict[Layout, str] = {"davis": "", "youtube-vos": "Annotations", "folder": ""}


class PredictionWriter(BasePredictionWriter):
    """Lightning callback that writes the masks of ``predict``.

    A video's folder appears under its name when it is whole, whatever happens; a run that stopped goes on with the
    videos that have no folder yet, also on another number of devices. Each device writes its own videos, the first one
    zips them.

    Args:
        folder: Where to write; null means ``predictions`` below the run folder.
        archive: Whether ``submission.zip`` is written into it at the end.
    """

    def __init__(self, folder: str | None = None, *, archive: bool = True) -> None:
        super().__init__("batch")
        self.folder = folder
        self.archive = archive
        self._root: Path | None = None
        self._lock = contextlib.ExitStack()
        self._layout: Layout = "davis"
        self._skipped = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the folder for this run, before weights are loaded.

        Raises:
            OutputInUseError: If another run writes there.
            OutputExistsError: If there is a file instead of a folder.
        """
        super().setup(trainer, pl_module, stage)
        if stage != "predict":
            return
        self._root = Path(self.folder) if self.folder is not None else Path(_run_folder(trainer)) / "predictions"
        obstacle: VosZooError | None = None
        if trainer.is_global_zero:
            try:
                self._lock.enter_context(folder_lock(self._root))
            except (OutputInUseError, OutputExistsError) as error:
                obstacle = error
        # One process holds the lock for all of a run; if it does not get it, none of them may go on.
        obstacle = trainer.strategy.broadcast(obstacle)
        if obstacle is not None:
            raise obstacle

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the folder to other runs."""
        self._lock.close()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the folder before any video is opened.

        Raises:
            ConfigError: If the folder belongs to a run with other settings.
            OutputExistsError: If it holds something else, or is where the videos are.
        """
        assert self._root is not None, "setup comes first"
        self._skipped = 0
        settings = _settings(trainer, pl_module)
        check_outputs([self._root], filter(None, [settings["root"]]))
        _check_folder(self._root, settings)
        # Nobody writes before everybody has looked.
        trainer.strategy.barrier("predictions are checked")
        if trainer.is_global_zero:
            self._root.mkdir(parents=True, exist_ok=True)
            content = {"vos_zoo_version": __version__, "settings": settings}
            with atomic_path(self._root / RUN_FILE) as partial:
                partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            rank_zero_info("Predictions go to %s", self._root)
        trainer.strategy.barrier("predictions may begin")

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: VideoPrediction,
        batch_indices: Sequence[int] | None,
        batch: PredictionVideo,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Segment the video and write its masks, unless they are there.

        Raises:
            OutputExistsError: If the video's folder is there, but lacks masks.
        """
        assert self._root is not None, "on_predict_start comes first"
        self._layout = prediction.video.layout
        folder = self._root / _VIDEOS_FOLDER[self._layout] / prediction.video.name
        names = prediction.video.written_names()
        if folder.exists():
            _check_video(folder, names)
            self._skipped += 1
            rank_zero_info("%s is finished already", prediction.video.name)
            return
        partial = folder.with_name(f".{folder.name}{PARTIAL_SUFFIX}")
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        try:
            writer = MaskWriter(partial)
            # disable=None: no bar where the output is no terminal.
            for name, mask in tqdm(
                prediction, desc=prediction.video.name, total=len(names), unit=" masks", leave=False, disable=None
            ):
                if trainer.received_sigterm:
                    raise SIGTERMException
                writer.write(name, mask)
            partial.rename(folder)
            rank_zero_info("%s: %d masks written", prediction.video.name, len(names))
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Zip the masks once all devices have finished."""
        assert self._root is not None
        trainer.strategy.barrier("predictions are written")
        if self._skipped:
            rank_zero_info("%d videos were finished before this run and were left as they are", self._skipped)
        if self.archive and trainer.is_global_zero:
            path = write_archive(self._root, self._layout)
            rank_zero_info("Zipped for submission: %s", path)
        trainer.strategy.barrier("predictions are zipped")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the folder to other runs, and say that nothing is lost."""
        self._lock.close()
        if trainer.predicting and self._root is not None:
            rank_zero_info("Finished videos are kept in %s; the same command goes on with the others", self._root)


def write_archive(root: Path, layout: Layout) -> Path:
    """Zip the results of all videos, without compression, since PNG files do not shrink.

    Args:
        root: Folder of the predictions.
        layout: Layout of the archive.

    Returns:
        The archive, ``submission.zip`` in ``root``.
    """
    videos = root / _VIDEOS_FOLDER[layout]
    masks = sorted(mask for mask in videos.glob("*/*.png") if not mask.parent.name.startswith("."))
    with atomic_path(root / ARCHIVE_FILE) as partial, zipfile.ZipFile(partial, "w") as archive:
        for mask in masks:
            archive.write(mask, mask.relative_to(root))
    return root / ARCHIVE_FILE


def _run_folder(trainer: pl.Trainer) -> str:
    return trainer.log_dir or trainer.default_root_dir


def _settings(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    data = getattr(trainer, "datamodule", None)
    root = getattr(data, "root", None)
    network: nn.Module = getattr(module, "network", module)
    return {
        "model": type(module).__name__,
        "weights": _fingerprint(network),
        "size": getattr(module, "evaluation_size", None),
        "precision": str(trainer.precision),
        "data": type(data).__name__,
        "root": None if root is None else str(Path(root).resolve()),
    }


def _fingerprint(network: nn.Module) -> str:
    """Give a short name to the weights: a training run keeps changing the file that they came from."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_folder(root: Path, settings: dict[str, Any]) -> None:
    if not root.exists():
        return
    run_file = root / RUN_FILE
    if not run_file.is_file():
        if not root.is_dir() or any(entry.name != LOCK_FILE for entry in root.iterdir()):
            raise OutputExistsError(
                f"`{root}` exists and holds no {RUN_FILE} of predictions. Expected a new folder, or that of a run to "
                "go on with. Choose another one with `--predictions.folder`."
            )
        return
    try:
        changed = changed_settings(run_file, settings)
    except ValueError as error:
        raise ConfigError(
            f"`{run_file}` is damaged ({error}), so its run cannot go on. Choose another folder with "
            "`--predictions.folder`."
        ) from error
    if changed:
        raise ConfigError(
            f"The predictions in `{root}` were made with other settings: {'; '.join(changed)}. Go on with the same "
            "ones, or choose another folder with `--predictions.folder`."
        )


def _check_video(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / f"{name}.png").is_file()]
    if missing:
        raise OutputExistsError(
            f"`{folder}` lacks {len(missing)} of {len(names)} masks, the first is {missing[0]}.png. Folders appear "
            "here when they are whole, so somebody changed it. Remove it to have it made again."
        )
