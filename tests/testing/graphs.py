"""Exported graphs of tiny networks; exporting takes seconds, so that tests share them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from vos_zoo.registry import find_architecture

if TYPE_CHECKING:
    from pathlib import Path

FRAME = (48, 64)  # of the clip in vos_zoo.testing


def tiny_network(name: str, **overrides: Any) -> Any:
    """A tiny network with the same weights every time."""
    from dataclasses import replace

    torch.manual_seed(0)
    architecture = find_architecture(name)
    return architecture.load_class("network")(replace(architecture.new_config("tiny"), **overrides)).eval()


def export_tiny(name: str, folder: Path, **options: Any) -> Path:
    """Export it, and return the folder."""
    from vos_zoo.deployment.export import export_model

    logging.getLogger("torch.__trace").propagate = False  # thousands of records, which pytest would keep
    export_model(tiny_network(name), folder, **options)
    return folder
