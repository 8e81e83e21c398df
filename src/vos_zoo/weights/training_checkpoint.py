"""Checkpoints of training, the ``.ckpt`` files of Lightning: the one place that reads them."""

from __future__ import annotations

import pickle  # for the name of its error only; files are read with weights_only
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vos_zoo.configs import config_from_dict
from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.registry import find_architecture
from vos_zoo.weights.tensors import describe_file

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.registry import Architecture

__all__ = ["TrainingCheckpoint", "read_training_checkpoint"]

_PREFIX = "network."  # of the network's tensors in a LightningModule's state
# Every way in which the bytes of something else can fail.
_UNREADABLE = (
    pickle.PickleError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    OSError,
)


@dataclass(frozen=True)
class TrainingCheckpoint:
    """What a checkpoint of this package's training says of its network.

    Attributes:
        architecture: Which network it is.
        config: Its configuration.
        tensors: Its tensors by their names in the network.
        iterations: Optimiser steps done.
    """

    architecture: Architecture
    config: Any
    tensors: dict[str, Tensor]
    iterations: int


def read_training_checkpoint(path: str | Path) -> TrainingCheckpoint:
    """Read a ``.ckpt`` file that ``lightning fit`` wrote; nothing in it is executed.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If it was not written by this package's training.
        UnknownModelError: If the registry does not hold its architecture.
        ConfigError: If its configuration is not what the architecture expects.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist. Give the .ckpt file of a training run; it lies below `runs/`.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        described, state, iterations = content["vos_zoo"], content["state_dict"], content["global_step"]
        name, values = str(described["architecture"]), described["config"]
        tensors = {key.removeprefix(_PREFIX): state[key] for key in state if key.startswith(_PREFIX)}
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} is {describe_file(path)}, but no checkpoint of this package's training. Expected a .ckpt file "
            "that `lightning fit` of this package wrote."
        ) from error
    if type(iterations) is not int or iterations < 0:
        raise CheckpointError(f"{path} names {iterations!r} iterations. Expected a whole number; it was changed.")
    architecture = find_architecture(name)
    config = config_from_dict(architecture.load_class("config"), values, where=f"{path}: config")
    return TrainingCheckpoint(architecture, config, tensors, iterations)
