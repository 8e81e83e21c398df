"""Training that starts from trained weights, whatever their architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vos_zoo.training.initial_weights import describe_source
from vos_zoo.training.module import VOSModule


def pretrained(
    weights: str = "rde",
    *,
    learning_rate: float = 1e-5,
    weight_decay: float = 0.0,
    frozen: Sequence[str] = ("batch_norm",),
    options: dict[str, Any] | None = None,
) -> VOSModule:
    """Build the LightningModule that trains on from a weight; for ``class_path: vos_zoo.training.pretrained``.

    The weight names its architecture and size, so that one recipe serves all of them.

    Args:
        weights: A name (``rde.small``; ``vos-zoo list --weights`` shows them), the folder of a checkpoint, or a
            ``.ckpt`` file of a training run.
        learning_rate: Learning rate of the optimiser.
        weight_decay: Its weight decay.
        frozen: Parts of the network that keep their weights, see ``VOSModule``.
        options: Further arguments of the architecture's LightningModule.

    Raises:
        UnknownModelError: If no weight has this name.
        MissingFileError: If the path does not exist.
        CheckpointError: If it is not a weight.
    """
    architecture, config = describe_source(weights)
    module: VOSModule = architecture.load_class("module")(
        config,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        initial_weights=weights,
        frozen=frozen,
        **(options or {}),
    )
    return module
