"""Checkpoints of training, the ``.ckpt`` files of Lightning: the one place that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.configs import config_from_dict
from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.registry import find_stored_network
from vos_zoo.weights.checkpoint import check_fits
from vos_zoo.weights.tensors import shapes_of
from vos_zoo.weights.torch_files import plain_tensors, read_torch_file

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.registry import StoredNetwork

__all__ = ["TrainingCheckpoint", "read_training_checkpoint"]

_PREFIX = "network."  # of the network's tensors in a LightningModule's state
_EXPECTED = "Expected a .ckpt file that `lightning fit` of this package wrote."


@dataclass(frozen=True)
class TrainingCheckpoint:
    """What a checkpoint of this package's training says of its network.

    Attributes:
        architecture: Which network it is.
        config: Its configuration.
        tensors: Its tensors by their names in the network.
        iterations: Optimiser steps done.
    """

    architecture: StoredNetwork
    config: Any
    tensors: dict[str, Tensor]
    iterations: int


def read_training_checkpoint(path: str | Path) -> TrainingCheckpoint:
    """Read a ``.ckpt`` file that ``lightning fit`` wrote; nothing in it is executed.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If it was not written by this package's training, or does not hold the network that it
            describes.
        UnknownModelError: If the registry does not hold its architecture.
        ConfigError: If its configuration is not what the architecture expects.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist. Give the .ckpt file of a training run; it lies below `runs/`.")
    try:
        content = read_torch_file(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error} It is not a checkpoint of this package's training. {_EXPECTED}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}. {_EXPECTED}")
    described, state, iterations = (content.get(name) for name in ("vos_zoo", "state_dict", "global_step"))
    name, values = (
        (described.get(key) for key in ("architecture", "config")) if isinstance(described, Mapping) else (None, None)
    )
    if not (isinstance(name, str) and isinstance(values, Mapping) and isinstance(state, Mapping)):
        raise CheckpointError(f"{path} is not a checkpoint of this package's training. {_EXPECTED}")
    if type(iterations) is not int or iterations < 0:
        raise CheckpointError(
            f"{path} holds a {type(iterations).__name__} as number of iterations. Expected a whole number; the file "
            "was changed."
        )
    own = {key: state[key] for key in state if isinstance(key, str) and key.startswith(_PREFIX)}
    tensors = {key.removeprefix(_PREFIX): tensor for key, tensor in plain_tensors(own, path).items()}
    architecture = find_stored_network(name)
    config = config_from_dict(architecture.load_class("config"), values, where=f"{path}: config")
    check_fits(architecture, config, path, shapes_of(tensors), path)
    return TrainingCheckpoint(architecture, config, tensors, iterations)
