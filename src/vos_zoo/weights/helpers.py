"""The bundled weights of networks that help beside the models."""

from __future__ import annotations

import logging
from typing import Any

from vos_zoo import registry
from vos_zoo.errors import UnknownModelError
from vos_zoo.waiting import announced
from vos_zoo.weights.bundled import verify_weight
from vos_zoo.weights.checkpoint import read_model

__all__ = ["load_helper"]

_logger = logging.getLogger(__name__)


def load_helper(name: str) -> Any:
    """Return a helper network, filled, on the CPU, in float32 and eval mode.

    Args:
        name: A name of ``registry.HELPER_WEIGHTS``.

    Raises:
        UnknownModelError: If there is no such name.
        MissingFileError: If the file is not on this machine.
        CheckpointError: If it differs from the registry, or is damaged.
        ConfigError: If ``config.json`` is not what the network expects.
    """
    if name not in registry.HELPER_WEIGHTS:
        known = ", ".join(registry.HELPER_WEIGHTS) or "none"
        raise UnknownModelError(f"No helper network {name!r} is bundled. Bundled ones: {known}.")
    weight = registry.HELPER_WEIGHTS[name]
    folder = verify_weight(weight)
    with announced(_logger, f"Loading {weight.name}"):
        return read_model(folder, "network", file=weight.file, find=registry.find_helper)
