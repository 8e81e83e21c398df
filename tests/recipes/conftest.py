"""Recipes run as they stand, with tiny networks on generated data."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from testing.recipes import RECIPES, load_recipe
from vos_zoo.data.masks import write_mask
from vos_zoo.data.synthetic import moving_shapes
from vos_zoo.hub import save_checkpoint_folder
from vos_zoo.layers import ResNetTrunk
from vos_zoo.registry import find_architecture


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with pictures and masks, annotated videos, and the backbone files that recipes name."""
    root = tmp_path_factory.mktemp("root")
    (root / "pairs" / "shapes").mkdir(parents=True)
    for index in range(3):
        picture = moving_shapes(1, 64, 72, num_objects=2, rng=index)
        Image.fromarray(picture.frames[0]).save(root / "pairs" / "shapes" / f"{index}.jpg")
        write_mask(root / "pairs" / "shapes" / f"{index}.png", picture.masks[0])
    for name in ("circles", "corners"):
        video = moving_shapes(6, 64, 96, num_objects=2, rng=len(name))
        for index, (frame, mask) in enumerate(zip(video.frames, video.masks, strict=True)):
            path = root / "train" / "JPEGImages" / "480p" / name / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
            write_mask(root / "train" / "Annotations" / "480p" / name / f"{index:05d}.png", mask)
    trunk = {key: tensor.contiguous() for key, tensor in ResNetTrunk("test_resnet").state_dict().items()}
    for recipe in RECIPES:
        name = load_recipe(recipe)["model"]["init_args"].get("backbone_weights")
        if name not in (None, "timm"):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(trunk, path)
    return root


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write the folder of an untrained tiny network that stands in for a bundled checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def write(name: str) -> Path:
        architecture = find_architecture(Path(name).name.partition("-")[0])
        if not (folder / architecture.name).exists():
            network = architecture.load_class("network")(architecture.new_config("tiny"))
            save_checkpoint_folder(network, folder / architecture.name, card="# Untrained\n")
        return folder / architecture.name

    return write


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run in a folder of its own and give back what Lightning's seeding changes."""
    monkeypatch.chdir(tmp_path)
    # Lightning still instantiates in a way that jsonargparse will drop in version 5.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    environment = dict(os.environ)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  # the global generator
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    os.environ.clear()
    os.environ.update(environment)
