"""From a checkpoint of a training run to a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from vos_zoo.version import __version__
from vos_zoo.weights.checkpoint import build, save_checkpoint_folder
from vos_zoo.weights.tensors import fill, without_storage
from vos_zoo.weights.training_checkpoint import read_training_checkpoint

__all__ = ["export_checkpoint"]


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
        CheckpointError: If the file is not a checkpoint of this package's training, or its weights do not fit.
        OutputExistsError: If the folder already holds a checkpoint.
    """
    path = Path(path)
    checkpoint = read_training_checkpoint(path)
    with without_storage():
        network = build(checkpoint.architecture, "network", checkpoint.config, path)
    fill(network, checkpoint.tensors, path)
    card = (
        f"# {checkpoint.architecture.title}\n\nExported from a training run after {checkpoint.iterations} iterations "
        f"with vos_zoo {__version__}. Say here what it was trained on, under which licence, and what it scores.\n"
    )
    return save_checkpoint_folder(network, folder, card=card, half=half)
