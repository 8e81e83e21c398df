"""Checkpoint folders of untrained networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def save_tiny(name: str, folder: Path) -> Path:
    """Write an untrained network of an architecture in size ``tiny`` below a folder, always the same one."""
    import torch

    from vos_zoo.registry import find_architecture
    from vos_zoo.weights import save_checkpoint_folder

    architecture = find_architecture(name)
    torch.manual_seed(0)
    network = architecture.load_class("network")(architecture.new_config("tiny"))
    return save_checkpoint_folder(network, folder / f"{name}-tiny", card="# Untrained\n")
