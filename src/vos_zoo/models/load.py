"""From a name to a model that is ready for a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.devices import find_device
from vos_zoo.weights.find import read_weight

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from vos_zoo.training.module import VOSModule

__all__ = ["load_model"]


def load_model(name: str | Path, device: str | torch.device = "auto") -> VOSModule:
    """Return a trained model in eval mode, ready for a video.

    Args:
        name: A registry name (``"rde"`` for the architecture's default weight, ``"rde.small"`` for a certain one), a
            repository of the Hugging Face Hub at one commit (``"hf-hub:owner/name@revision"``), or the folder of a
            checkpoint, as a path or as ``"local-dir:path"``.
        device: ``"auto"`` takes the first of CUDA, MPS and CPU that is there.

    Returns:
        The model. Its ``origin`` says where the weights came from.

    Raises:
        UnknownModelError: If the name is neither in the registry nor a folder.
        MissingFileError: If a file of the checkpoint, a repository or a revision does not exist.
        HubError: If the Hub cannot be reached or refuses, or what it sends cannot be stored.
        CheckpointError: If the weights are damaged, changed, or do not fit the configuration.
        ConfigError: If ``config.json`` is not what the architecture expects, or the device does not exist.

    Example:
        >>> model = load_model("rde", device="cpu")
        >>> model.training
        False
        >>> model.origin.name
        'rde.small'
    """
    target = find_device(device)
    module: VOSModule = read_weight(name, "module")
    return module.to(target)
