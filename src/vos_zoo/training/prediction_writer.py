"""Writes predictions as the benchmarks want them: a folder of masks per video, and a zip to hand in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import SIGTERMException
from tqdm import tqdm

from vos_zoo.errors import ConfigError, FailedVideosError, OutputExistsError, OutputInUseError, VosZooError
from vos_zoo.failures import FAILURES_FILE, Failure, forget_failure, note_failure, read_failures
from vos_zoo.files import PARTIAL_SUFFIX, atomic_path, check_outputs, file_lock
from vos_zoo.media.write_behind import write_behind
from vos_zoo.media.writer import MaskWriter
from vos_zoo.run_file import RUN_FILE, changed_settings
from vos_zoo.version import __version__
from vos_zoo.waiting import Pace, describe_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from vos_zoo.data.modules.prediction import Layout, PredictionVideo
    from vos_zoo.training.prediction import VideoPrediction

ARCHIVE_FILE = "submission.zip"
"""All masks as the benchmark's server takes them."""

_SETTINGS_LOCK = ".settings.lock"
_PATIENCE = 60.0  # seconds for another run to note its settings
_POLL = 0.5  # seconds between two looks at the other devices
_logger = logging.getLogger(__name__)

# YouTube-VOS takes Annotations/<video>/<frame>.png, DAVIS <video>/<frame>.png.
_VIDEOS_FOLDER: dict[Layout, str] = {"davis": "", "youtube-vos": "Annotations", "folder": ""}


class PredictionWriter(BasePredictionWriter):
    """Lightning callback that writes the masks of ``predict``.

    Devices take videos from a common queue: whoever comes to a video that is neither finished nor taken takes it, by a
    lock that the system gives back if its process dies. Nothing is exchanged between them once the first video has
    begun, so that no device waits for another one, and one that dies leaves its videos to the others. Several runs with
    the same settings may share the folder.

    A video's folder appears under its name only once it is complete; a run that stopped continues with the
    videos that have no folder yet, also on another number of devices. A video that cannot be segmented is noted in
    ``failures.jsonl`` and left out. The first device waits for the others of its run; whoever finds all videos finished
    zips them.

    Args:
        folder: Where to write; null means ``predictions`` below the run folder.
        archive: Whether ``submission.zip`` is written into it when all videos are finished.

    Attributes:
        folder: As given.
        archive: As given.
        root: Where this run writes; None before ``predict`` began.
    """

    def __init__(self, folder: str | None = None, *, archive: bool = True) -> None:
        super().__init__("batch")
        self.folder = folder
        self.archive = archive
        self.root: Path | None = None
        self._layout: Layout = "davis"
        self._run = ""  # name of this run's locks
        self._presence = contextlib.ExitStack()  # lock of this process, which the first one waits for
        self._seen = 0  # videos of the queue so far
        self._skipped = 0
        self._elsewhere: list[VideoPrediction] = []  # taken by another device or run when this one came to them
        self._names: list[str] = []  # of all videos
        self._is_stopped = False
        self._started: list[subprocess.Popen[bytes]] = []  # the other devices of this machine

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose the folder.

        Raises:
            OutputExistsError: If there is a file instead of a folder.
        """
        super().setup(trainer, pl_module, stage)
        if stage != "predict":
            return
        self.root = Path(self.folder) if self.folder is not None else Path(_run_folder(trainer)) / "predictions"
        if self.root.exists() and not self.root.is_dir():
            raise OutputExistsError(
                f"`{self.root}` is a file where an output folder was expected. Choose another one with "
                "`--predictions.folder`."
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Say that this device has ended."""
        self._presence.close()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the folder before any video is opened, and note the settings of the run.

        Raises:
            ConfigError: If the folder belongs to a run with other settings.
            OutputExistsError: If it holds something else, or is where the videos are.
            OutputInUseError: If another run has not noted its settings within a minute.
        """
        assert self.root is not None, "setup comes first"
        self._seen = self._skipped = 0
        self._elsewhere, self._names, self._is_stopped = [], [], False
        settings = _settings(trainer, pl_module)
        check_outputs([self.root], filter(None, [settings["root"]]))
        obstacle: VosZooError | OSError | None = None
        if trainer.is_global_zero:
            try:
                _begin_run(self.root, settings)
            except (VosZooError, OSError) as error:
                obstacle = error
        # If the first process cannot begin, none of them may.
        obstacle, self._run = trainer.strategy.broadcast((obstacle, f"{time.time_ns():x}"))
        if obstacle is not None:
            raise obstacle
        rank_zero_info("Predictions go to %s", self.root)
        self._presence.enter_context(file_lock(self._presence_file(trainer.global_rank), what=self.root))
        # Masks are on the disk, and a hundred thousand videos are too many to hand back.
        trainer.predict_loop.return_predictions = False
        trainer.strategy.barrier("predictions may begin")  # the last time that anybody waits here
        # Lightning's launcher kills all processes when one on its list has died. Training needs that, since the others
        # would wait for the dead one for ever; videos are done by whoever is left.
        self._started = list(_launched(trainer))
        _launched(trainer).clear()
        if threading.current_thread() is threading.main_thread():
            # Lightning's handler starts a collective, which the other devices would never join.
            signal.signal(signal.SIGTERM, lambda number, _frame: self._stop(number))

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
        """Take the video, segment it and write its masks, unless it is finished or taken."""
        self._layout = prediction.video.layout
        self._names.append(prediction.video.name)
        self._seen += 1
        if not self._take(trainer, prediction, is_first=self._seen % trainer.world_size == trainer.global_rank):
            self._elsewhere.append(prediction)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take what others left, wait for the other devices of this run, zip the masks, and name what failed.

        Raises:
            FailedVideosError: If there are videos that could not be segmented; the first device raises it.
        """
        assert self.root is not None
        self._take_left_behind(trainer)
        self._presence.close()
        if not trainer.is_global_zero:
            return
        self._wait_for_others(trainer)
        self._take_left_behind(trainer)
        if self._skipped:
            rank_zero_info("%d videos were finished before this run and were left as they are", self._skipped)
        videos = self.root / _VIDEOS_FOLDER[self._layout]
        failures = read_failures(self.root)
        failed = [failures[name] for name in self._names if name in failures]
        unfinished = [name for name in self._names if name not in failures and not (videos / name).is_dir()]
        if unfinished:
            rank_zero_info("%d videos are still with other runs in this folder", len(unfinished))
        if self.archive and not unfinished and not failed:
            self._zip()
        if failed:
            raise FailedVideosError(
                f"{len(failed)} of {len(self._names)} videos could not be segmented, the first is "
                f"{failed[0].video}: {failed[0].message} {self.root / FAILURES_FILE} lists all. The others are "
                f"finished in {self.root}; the same command tries the failed ones again"
                f"{', and zips when all are finished' if self.archive else ''}."
            )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say that this device has ended, and that nothing is lost."""
        self._presence.close()
        _launched(trainer)[:] = self._started  # for Lightning to end, if it was interrupted
        if trainer.predicting and self._run and not isinstance(exception, FailedVideosError):
            rank_zero_info("Finished videos are kept in %s; repeat the command to do the others", self.root)

    def _take(self, trainer: pl.Trainer, prediction: VideoPrediction, *, is_first: bool = False) -> bool:
        """Make sure that a video is finished or has failed; False if another process is at work on it.

        Args:
            trainer: The trainer.
            prediction: The video.
            is_first: Whether it falls to this device to look whether a finished video is whole.
        """
        assert self.root is not None, "on_predict_start comes first"
        if self._is_stopped:
            raise SIGTERMException
        name = prediction.video.name
        folder = self.root / _VIDEOS_FOLDER[self._layout] / name
        folder.parent.mkdir(exist_ok=True)
        try:
            if folder.exists():
                self._skip(prediction, folder, is_checked=is_first)
                return True
            with file_lock(folder.with_name(f".{name}.lock"), what=folder):
                if not folder.exists():  # another one may have finished it just now
                    self._write(prediction, folder)
        except OutputInUseError:
            return False
        except VosZooError as error:
            note_failure(self.root, Failure(name, type(error).__name__, str(error)))
            _logger.warning("%s failed: %s", name, error)
        return True

    def _skip(self, prediction: VideoPrediction, folder: Path, *, is_checked: bool) -> None:
        assert self.root is not None
        if not is_checked:
            return
        self._skipped += 1
        _check_video(folder, prediction.video.written_names())
        forget_failure(self.root, prediction.video.name)
        rank_zero_info("%s is finished already", prediction.video.name)

    def _write(self, prediction: VideoPrediction, folder: Path) -> None:
        assert self.root is not None
        partial = folder.with_name(f".{folder.name}{PARTIAL_SUFFIX}")
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        names = prediction.video.written_names()
        try:
            writer = MaskWriter(partial)
            with _video_progress(prediction.video.name, len(names)) as progress:
                masks = write_behind(self._until_stopped(prediction), lambda named: writer.write(*named))
                for done, _ in enumerate(masks, start=1):
                    progress(done, len(names))
            partial.rename(folder)
            forget_failure(self.root, prediction.video.name)
            rank_zero_info("%s: %d masks written", prediction.video.name, len(names))
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _until_stopped(self, prediction: VideoPrediction) -> Iterator[tuple[str, NDArray[Any]]]:
        for named in prediction:
            if self._is_stopped:
                raise SIGTERMException
            yield named

    def _take_left_behind(self, trainer: pl.Trainer) -> None:
        """Take the videos of processes that have died; those that are still at work keep theirs."""
        self._elsewhere = [prediction for prediction in self._elsewhere if not self._take(trainer, prediction)]

    def _wait_for_others(self, trainer: pl.Trainer) -> None:
        """Wait until the other devices of this run have ended, in whatever way; no time limit is at work here."""
        assert self.root is not None
        pace = Pace(lambda done, total, *_: rank_zero_info("%d of %d devices have finished", done, total))
        for rank in range(1, trainer.world_size):
            while not self._has_ended(rank):
                if self._is_stopped:
                    raise SIGTERMException
                time.sleep(_POLL)
                pace(rank, trainer.world_size)
        for rank, process in enumerate(self._started, start=1):
            if process.poll():
                _logger.warning("Device %d died with code %d; the others do its videos", rank, process.returncode)

    def _has_ended(self, rank: int) -> bool:
        try:
            with file_lock(self._presence_file(rank), what=self._presence_file(rank)):
                return True
        except OutputInUseError:
            return False

    def _presence_file(self, rank: int) -> Path:
        assert self.root is not None
        return self.root / f".run-{self._run}-{rank}.lock"

    def _zip(self) -> None:
        assert self.root is not None
        try:
            with file_lock(self.root / f".{ARCHIVE_FILE}.lock", what=self.root / ARCHIVE_FILE):
                path = write_archive(self.root, self._layout)
        except OutputInUseError:
            rank_zero_info("Another run is zipping the same videos")
        else:
            rank_zero_info("Zipped for submission: %s", path)

    def _stop(self, number: int) -> None:
        """End after the current frame, and the processes that this one started likewise."""
        self._is_stopped = True
        for process in self._started:
            process.send_signal(number)


def _launched(trainer: pl.Trainer) -> list[subprocess.Popen[bytes]]:
    """Give Lightning's own list of the processes that it has started, and looks after."""
    launched: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
    return launched


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
    """Return a short name to the weights: a training run keeps changing the file that they came from."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _begin_run(root: Path, settings: dict[str, Any]) -> None:
    """Note the settings of the run, or make sure that they are those of the runs before."""
    root.mkdir(parents=True, exist_ok=True)
    with file_lock(root / _SETTINGS_LOCK, what=root, wait=_PATIENCE):
        _check_folder(root, settings)
        content = {"vos_zoo_version": __version__, "settings": settings}
        with atomic_path(root / RUN_FILE) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _check_folder(root: Path, settings: dict[str, Any]) -> None:
    run_file = root / RUN_FILE
    if not run_file.is_file():
        if any(not entry.name.startswith(".") for entry in root.iterdir()):
            raise OutputExistsError(
                f"`{root}` exists and holds no {RUN_FILE} of predictions. Expected a new folder, or that of a run to "
                "resume. Choose another one with `--predictions.folder`."
            )
        return
    try:
        changed = changed_settings(run_file, settings)
    except ValueError as error:
        raise ConfigError(
            f"`{run_file}` is damaged ({error}), so its run cannot be resumed. Choose another folder with "
            "`--predictions.folder`."
        ) from error
    if changed:
        raise ConfigError(
            f"The predictions in `{root}` were made with other settings: {'; '.join(changed)}. Continue with the same "
            "ones, or choose another folder with `--predictions.folder`."
        )


@contextlib.contextmanager
def _video_progress(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Show how far a video is: a bar on a terminal, a line every few seconds elsewhere."""
    if not sys.stderr.isatty():
        yield Pace(
            lambda done, total, speed, left: (
                rank_zero_info("%s: %s", name, describe_progress("masks", done, total, speed, left))
                if done < total
                else None
            )
        )
        return
    with tqdm(desc=name, total=total, unit=" masks", leave=False) as bar:
        yield lambda done, _total: bar.update(done - bar.n) and None


def _check_video(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / f"{name}.png").is_file()]
    if missing:
        raise OutputExistsError(
            f"`{folder}` lacks {len(missing)} of {len(names)} masks, the first is {missing[0]}.png. Folders appear "
            "here when they are whole, so somebody changed it. Remove it to have it made again."
        )
