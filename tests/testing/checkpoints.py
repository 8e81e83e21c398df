"""Checkpoint folders of untrained networks, and checkpoints of training that has not begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_lightning import LightningModule


def save_tiny(name: str, folder: Path) -> Path:
    """Write an untrained network of an architecture in size ``tiny`` below a folder, always the same one."""
    import torch

    from vos_zoo.registry import find_architecture
    from vos_zoo.weights import save_checkpoint_folder

    architecture = find_architecture(name)
    torch.manual_seed(0)
    network = architecture.load_class("network")(architecture.new_config("tiny"))
    return save_checkpoint_folder(network, folder / f"{name}-tiny", card="# Untrained\n")


def save_training_checkpoint(module: LightningModule, path: Path) -> Path:
    """Write what Lightning writes of a module before its first step."""
    import pytorch_lightning as pl

    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path
