"""The console command ``lightning``: train, validate, test and predict by configuration files.

It is Lightning's own command line interface over this package's models and data modules; no released Lightning
package installs a command of that name any more.
"""

from __future__ import annotations

import logging
import os
import pickle  # for the name of its error only
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vos_zoo.cli.output import describe_os_error, print_error
from vos_zoo.cli.recipes import name_recipes
from vos_zoo.errors import ConfigError, FailedVideosError, RunStoppedError, VosZooError
from vos_zoo.registry import known_architectures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytorch_lightning import Trainer
    from pytorch_lightning.loggers import Logger

__all__ = ["main"]

_logger = logging.getLogger(__name__)

EXIT_FAILED_VIDEOS = 1
EXIT_BAD_INPUT = 2
_EXIT_SIGNAL = 128  # plus the number of the signal, as shells report it
_COMMANDS = ("fit", "validate", "test", "predict")
_RUNS_FOLDER = "runs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lightning`` and return its exit code.

    0 means done, 1 that some of many videos failed, 2 bad input or a disk that takes no more, 130 or 143 stopped by a
    signal.

    Args:
        argv: Arguments without the program's name; None takes them from the command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = next((word for word in arguments if not word.startswith("-")), None)
    if not arguments or (first is not None and first not in _COMMANDS and arguments[0] == first):
        found = f"{first!r} is not a command of it" if first else "it needs a command"
        print(
            f"lightning: error: this `lightning` trains the models of vos_zoo, and {found}. "
            f"Commands: {', '.join(_COMMANDS)}; for example `lightning fit --config rde`. "
            "Commands of Lightning's own apps and of its cloud are not part of it.",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    kept = _Kept()
    try:
        _run(name_recipes(arguments), kept)
    except RunStoppedError as stop:
        if int(os.environ.get("LOCAL_RANK", "0")) > 0:
            return 0  # the launcher kills the first process, which may still have to write, if another one fails
        print(f"lightning: {stop}", file=sys.stderr)
        return _EXIT_SIGNAL + stop.signal_number
    except FailedVideosError as error:
        print_error("lightning", str(error))
        return EXIT_FAILED_VIDEOS
    except (VosZooError, ValueError) as error:  # jsonargparse wraps what a constructor raises in a ValueError
        ours = _our_error(error)
        if ours is None:
            raise
        print_error("lightning", f"error: {ours}")
        return EXIT_BAD_INPUT
    except OSError as error:
        _logger.debug("Of the system", exc_info=True)
        remedy = "repeat the command, or resume training with `--ckpt_path` and the last checkpoint"
        print_error("lightning", f"error: {describe_os_error(error, remedy)} {kept.describe()}".rstrip())
        return EXIT_BAD_INPUT
    return 0


class _Kept:
    """What a run that the system stopped has left on the disk.

    Attributes:
        trainer: The trainer of the run; None before there is one.
    """

    def __init__(self) -> None:
        self.trainer: Trainer | None = None

    def describe(self) -> str:
        """Name the last checkpoint, or the folder of finished videos; empty if there is neither."""
        if self.trainer is None:
            return ""
        keeper = self.trainer.checkpoint_callback
        for checkpoint in (getattr(keeper, "last_model_path", ""), getattr(keeper, "best_model_path", "")):
            if checkpoint:
                return f"The last checkpoint is {checkpoint}."
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it where mypy cannot see
            root = getattr(callback, "root", None)
            if root is not None:
                return f"Finished videos are in {root}."
        return "There is no checkpoint yet." if self.trainer.fit_loop.epoch_loop.global_step else ""


def _our_error(error: BaseException | None) -> VosZooError | None:
    """Find an error of this package among those that led to another."""
    while error is not None and not isinstance(error, VosZooError):
        error = error.__cause__
    return error


def import_nameable_classes() -> None:
    """Import all models and data modules: a recipe can name a class that is imported without its module.

    A model of another package that cannot be imported is left out with a warning.
    """
    from vos_zoo import data
    from vos_zoo.training.prompt_module import PromptModule  # noqa: F401

    for name in data.__all__:
        getattr(data, name)
    for architecture in known_architectures().values():
        try:
            architecture.load_class("module")
        except ConfigError as error:  # noqa: PERF203  # one model at a time
            _logger.warning("Left a model out. %s", error)


def _run(arguments: list[str], kept: _Kept) -> None:
    """Build the command line interface and run it; everything heavy is imported here.

    Args:
        arguments: Words of the command line.
        kept: Takes the trainer.
    """
    import torch
    from pytorch_lightning import LightningDataModule, LightningModule
    from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
    from pytorch_lightning.utilities import rank_zero_info
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from vos_zoo.data.modules.prediction import PredictionDataModule
    from vos_zoo.training.interruption import SaveOnInterruption
    from vos_zoo.training.overlays import SampleOverlays  # noqa: F401
    from vos_zoo.training.prediction_writer import PredictionWriter
    from vos_zoo.training.push_best import PushBestToHub  # noqa: F401
    from vos_zoo.weights.torch_files import unpickling_error

    import_nameable_classes()

    checkpoint: str | None = None  # that the user named

    class Parser(LightningArgumentParser):
        """A parser that answers a mistake with its message instead of pages of options."""

        def print_usage(self, file: Any = None) -> None:
            """Print nothing; the message names ``--help``."""

    class ZooCLI(LightningCLI):
        """LightningCLI that writes below ``runs/`` and says so, and lets no checkpoint run code."""

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            """Return the command that is asked for: a parser of every option takes a moment, and there are four."""
            known = LightningCLI.subcommands()
            return {arguments[0]: known[arguments[0]]} if arguments[0] in known else known

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.set_defaults({"trainer.default_root_dir": _RUNS_FOLDER})
            parser.add_lightning_class_args(PredictionWriter, "predictions")

        def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
            # Lightning's own method warns about arguments that are not those of the command line word by word.
            self.config = parser.parse_args(arguments)
            settings = self.config[self.config.subcommand]
            if settings.weights_only is False:
                raise ConfigError(
                    "`--weights_only false` was given. A checkpoint could then run code while it is read. Leave the "
                    "option out; checkpoints of this package hold nothing that needs it."
                )
            # Lightning's own default lets a checkpoint that it fetches from a server run code.
            settings.weights_only = True
            nonlocal checkpoint
            checkpoint = settings.ckpt_path

        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            settings = self._get(self.config_init, "trainer")
            if settings["logger"] in (None, True) and not settings["fast_dev_run"]:
                kwargs["logger"] = _loggers(str(settings["default_root_dir"]))
            is_on_cpu = settings["accelerator"] == "cpu" or not torch.cuda.is_available()
            if settings["sync_batchnorm"] and is_on_cpu:
                rank_zero_info("CPUs cannot share batch statistics: training goes without `trainer.sync_batchnorm`.")
                kwargs["sync_batchnorm"] = False
            if self.subcommand == "predict":
                # Jobs that share a folder of predictions may begin in the same moment, in a log folder of one number.
                self.save_config_kwargs = {"overwrite": True}
            trainer = super().instantiate_trainer(**kwargs)
            if self.subcommand == "predict" and isinstance(self.datamodule, PredictionDataModule):
                devices = _devices_to_use(trainer, self.datamodule.count_videos)
                if devices < trainer.num_devices:
                    trainer = super().instantiate_trainer(**kwargs, devices=devices)
            kept.trainer = trainer
            return trainer

        def before_fit(self) -> None:
            self._say_where()

        def before_validate(self) -> None:
            self._check_weights()
            self._say_where()

        def before_test(self) -> None:
            self._check_weights()
            self._say_where()

        def before_predict(self) -> None:
            self._check_weights()
            self._say_where()

        def _say_where(self) -> None:
            trainer: Trainer = self.trainer
            folder = trainer.log_dir or trainer.default_root_dir  # which all processes have to ask for together
            if trainer.is_global_zero:
                print(f"Writing to {folder}")

        def _check_weights(self) -> None:
            weights = self._get(self.config, "ckpt_path") or self.model.initial_weights
            if weights is None:
                raise ConfigError(
                    f"`lightning {self.subcommand}` was given no trained weights. Name a checkpoint of a training run "
                    "with `--ckpt_path FILE.ckpt`, or a weight with `--model.initial_weights rde.small`."
                )
            if self.trainer.is_global_zero:
                print(f"Weights of {weights}")

    try:
        ZooCLI(
            LightningModule,  # most are of VOSModule; a paper may bring another one, such as a detector's
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_defaults={"callbacks": [SaveOnInterruption()]},
            parser_kwargs={"prog": "lightning"},
            parser_class=Parser,
        )
    except pickle.UnpicklingError as error:
        raise unpickling_error(error, checkpoint or "The checkpoint") from error
    except SIGTERMException as error:
        raise RunStoppedError("stopped by SIGTERM.", signal_number=signal.SIGTERM) from error


def _devices_to_use(trainer: Trainer, count_videos: Callable[[], int]) -> int:
    """Return no more devices than there are videos, where it is Lightning that starts a process for each."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    environment = getattr(trainer.strategy, "cluster_environment", None)
    if not isinstance(environment, LightningEnvironment):  # torchrun or SLURM has started as many as it was told
        return trainer.num_devices
    if "LOCAL_RANK" in os.environ:  # one of the processes that the first one has started
        return int(os.environ.get("WORLD_SIZE", trainer.world_size)) // trainer.num_nodes
    videos = count_videos()
    if videos < trainer.num_devices:
        print(f"{videos} video{'s' if videos != 1 else ''}, so {videos} of {trainer.num_devices} devices are used.")
    return min(videos, trainer.num_devices)


def _loggers(folder: str) -> list[Logger]:
    """Metrics as CSV always, and for TensorBoard in the same folder where that is installed."""
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    table = CSVLogger(folder)
    if find_spec("tensorboard") is None:
        return [table]
    return [table, TensorBoardLogger(folder, version=table.version)]


if __name__ == "__main__":
    sys.exit(main())
