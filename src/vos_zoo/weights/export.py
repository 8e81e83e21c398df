"""From a checkpoint of a training run to a checkpoint folder."""

from __future__ import annotations

import pickle  # for the name of its error only; files are read with weights_only
from pathlib import Path

import torch

from vos_zoo.configs import config_from_dict
from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.registry import find_architecture
from vos_zoo.version import __version__
from vos_zoo.weights.checkpoint import build, save_checkpoint_folder
from vos_zoo.weights.tensors import describe_file, fill, without_storage

__all__ = ["export_checkpoint"]

_PREFIX = "network."  # of the network's tensors in a LightningModule's state


def export_checkpoint(path: str | Path, folder: str | Path, *, half: bool = True) -> Path:
    """Turn a checkpoint of a training run into a checkpoint folder that :func:`vos_zoo.load_model` accepts.

    Args:
        path: A ``.ckpt`` file that training with this package wrote.
        folder: Where to write. It is made if it does not exist.
        half: Store floating-point tensors as float16, half the bytes.

    Returns:
        The folder.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If the file is no checkpoint of this package's training, or its weights do not fit.
        OutputExistsError: If the folder already holds a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist. Give the .ckpt file of a training run; it lies below `runs/`.")
    expected = "Expected a .ckpt file that `lightning fit` of this package wrote."
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        described, state, step = checkpoint["vos_zoo"], checkpoint["state_dict"], checkpoint["global_step"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is {describe_file(path)} that cannot be exported. {expected}") from error
    architecture = find_architecture(str(described["architecture"]))
    config = config_from_dict(architecture.load_class("config"), described["config"], where=f"{path}: config")
    with without_storage():
        network = build(architecture, "network", config, path)
    fill(network, {key.removeprefix(_PREFIX): state[key] for key in state if key.startswith(_PREFIX)}, path)
    card = (
        f"# {architecture.title}\n\nExported from a training run after {step} iterations with vos_zoo "
        f"{__version__}. Say here what it was trained on, under which licence, and what it scores.\n"
    )
    return save_checkpoint_folder(network, folder, card=card, half=half)
