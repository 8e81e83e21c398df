"""Recipes run as they stand, with tiny networks on generated data."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from testing.recipes import RECIPES, REPOSITORY, configs_of, load_recipe
from testing.videos import write_frames
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.layers import ResNetTrunk
from vos_zoo.media.masks import write_mask
from vos_zoo.registry import WEIGHTS, find_architecture
from vos_zoo.training.module import resolve_config
from vos_zoo.weights import save_checkpoint_folder

TINY = {
    "model.config": "tiny",
    "model.evaluation_size": "32",
    "data.batch_size": "2",
    "data.crop_size": "48",
    "data.samples_per_epoch": "4",
    "data.num_workers": "0",
    "data.validation_frames": "3",
    "trainer.accelerator": "cpu",
    "trainer.accumulate_grad_batches": "1",
    "trainer.check_val_every_n_epoch": "1",
    "trainer.enable_model_summary": "false",
    "trainer.enable_progress_bar": "false",
    "trainer.limit_val_batches": "1",
    "trainer.log_every_n_steps": "1",
    "trainer.logger": "CSVLogger",
    "trainer.logger.save_dir": "logs",
    "trainer.max_steps": "2",
    "trainer.num_sanity_val_steps": "0",
}

# What lets the tiny size start from another tiny network.
STARTS = {"stcn_weights": "{kv_kernel: 3}", "giel_weights": "{matching: cosine, skip_kernel: 1}"}


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with everything that recipes name: pictures, videos in every layout, and backbone files."""
    root = tmp_path_factory.mktemp("root")
    pictures = root / "pairs" / "shapes"
    pictures.mkdir(parents=True)
    for index in range(3):
        picture = moving_shapes(1, 64, 72, num_objects=2, rng=index)
        Image.fromarray(picture.frames[0]).save(pictures / f"{index}.jpg")
        write_mask(pictures / f"{index}.png", picture.masks[0])
    _write_coco(root / "coco", pictures)
    videos = root / "train"
    for name in ("circles", "corners"):
        video = moving_shapes(6, 64, 96, num_objects=2, rng=len(name))
        for index, (frame, mask) in enumerate(zip(video.frames, video.masks, strict=True)):
            path = videos / "JPEGImages" / "480p" / name / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
            write_mask(videos / "Annotations" / "480p" / name / f"{index:05d}.png", mask)
    (root / "davis").symlink_to(videos)
    for image_set in ("train", "val"):
        (videos / "ImageSets" / "2017").mkdir(parents=True, exist_ok=True)
        (videos / "ImageSets" / "2017" / f"{image_set}.txt").write_text("circles\ncorners\n")
    for folder in ("JPEGImages", "Annotations"):
        for other in (root / "youtube-vos" / "train", root / "bl30k" / "a" / "BL30K"):
            other.mkdir(parents=True, exist_ok=True)
            (other / folder).symlink_to(videos / folder / "480p")
    objects = {str(label): {"category": "shape", "frames": [f"{frame:05d}" for frame in range(6)]} for label in (1, 2)}
    meta = {"videos": {name: {"objects": objects} for name in ("circles", "corners")}}
    (root / "youtube-vos" / "train" / "meta.json").write_text(json.dumps(meta))
    (root / "held_out.txt").write_text("circles\n")
    trunk = {key: tensor.contiguous() for key, tensor in ResNetTrunk("test_resnet").state_dict().items()}
    for recipe in RECIPES:
        settings = load_recipe(recipe)
        model = settings["model"]["init_args"]
        for option, write, prefix in (
            ("backbone_weights", save_file, ""),
            ("mask_rcnn_weights", torch.save, "backbone.body."),
        ):
            name = model.get(option)
            if name not in (None, "timm", "random") and name not in WEIGHTS:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                write({prefix + key: tensor for key, tensor in trunk.items()}, root / name)
        for entry in settings["data"]["init_args"].get("sets", ()):
            path = root / entry["path"]
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                path.symlink_to(pictures)
    save_file(trunk, root / "backbone.safetensors")
    return root


def _write_coco(root: Path, pictures: Path) -> None:
    """Annotate a quarter of every picture as an instance."""
    names = [path.name for path in pictures.glob("*.jpg")]
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").symlink_to(pictures)
    content = {
        "images": [{"id": name, "file_name": name, "height": 64, "width": 72} for name in names],
        "annotations": [
            {"image_id": name, "segmentation": [[8, 8, 44, 8, 44, 40, 8, 40]], "area": 1152, "iscrowd": 0}
            for name in names
        ],
    }
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write the folder of an untrained tiny network that stands in for a bundled checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def write(recipe: str, name: str) -> Path:
        # A bundled weight is one of the registry; the stage before is one of the recipe's own network.
        is_bundled = name in WEIGHTS
        architecture = find_architecture(WEIGHTS[name].architecture if is_bundled else Path(recipe).parts[1])
        overrides = {} if is_bundled else load_recipe(recipe)["model"]["init_args"].get("overrides", {})
        path = folder / "-".join([architecture.name, *(f"{key}={value}" for key, value in overrides.items())])
        if not path.exists():
            config = resolve_config(architecture.load_class("config"), architecture.new_config("tiny"), overrides)
            save_checkpoint_folder(architecture.load_class("network")(config), path, card="# Untrained\n")
        return path

    return write


@pytest.fixture(scope="session")
def words(data_root: Path, tiny_checkpoint: Any) -> Any:
    """Return what makes a recipe small enough for a test, as arguments of ``lightning fit``."""

    def of(recipe: str, **settings: str) -> list[str]:
        values = TINY | settings
        model = load_recipe(recipe)["model"]["init_args"]
        if load_recipe(recipe)["data"]["class_path"] != "SyntheticDataModule":
            values["data.root"] = str(data_root)
        if model.get("initial_weights") is not None and "model.initial_weights" not in settings:
            names = model["initial_weights"]
            several = isinstance(names, list)
            starts = [str(tiny_checkpoint(recipe, name)) for name in (names if several else [names])]
            values["model.initial_weights"] = json.dumps(starts) if several else starts[0]
        sets = load_recipe(recipe)["data"].get("init_args", {}).get("video_sets", [])
        are_other_videos = any("names" in entry or not (data_root / entry["path"]).exists() for entry in sets)
        if are_other_videos and "data.video_sets" not in settings:
            values["data.video_sets"] = "[{path: train}]"
        for source, overrides in STARTS.items():
            if source in model:
                values[f"model.{source}"] = str(tiny_checkpoint(recipe, model[source]))
                values["model.overrides"] = overrides
        if model.get("backbone_weights") == "timm":  # would be downloaded
            values["model.backbone_weights"] = str(data_root / "backbone.safetensors")
        elif model.get("backbone_weights") in WEIGHTS:
            values["model.backbone_weights"] = str(tiny_checkpoint(recipe, model["backbone_weights"]))
        configs = [f"--config={REPOSITORY / path}" for path in configs_of(recipe)]
        return [*configs, *(f"--{name}={value}" for name, value in values.items())]

    return of


@pytest.fixture(scope="session")
def detector_words(data_root: Path) -> list[str]:
    """Return what makes the detector's recipe small enough for a test."""
    return [
        f"--config={REPOSITORY / 'recipes' / 'dmn_aoa' / 'detector.yaml'}", f"--data.root={data_root}",
        "--model.weights=null", "--model.min_size=64", "--data.crop_size=[64,96]", "--data.batch_size=1",
        "--data.samples_per_epoch=2", "--data.num_workers=0", "--trainer.max_steps=1", "--trainer.accelerator=cpu",
        "--trainer.accumulate_grad_batches=2", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", "--trainer.log_every_n_steps=1", "--trainer.logger=CSVLogger",
        "--trainer.logger.save_dir=logs", "--trainer.callbacks.every_n_train_steps=1",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def prompt_words(data_root: Path) -> list[str]:
    """Return what makes the prompt network's recipe small enough for a test."""
    return [
        f"--config={REPOSITORY / 'recipes' / 'prompts' / 'small.yaml'}", f"--data.root={data_root}",
        "--model.config=tiny", f"--model.backbone_weights={data_root / 'backbone.safetensors'}",
        "--model.training_size=null", "--data.held_back=1", "--data.crop_size=64", "--data.batch_size=2",
        "--data.samples_per_epoch=4", "--data.num_workers=0", "--data.validation_frames=2", "--trainer.max_steps=2",
        "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.limit_val_batches=1",
        "--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", "--trainer.log_every_n_steps=1", "--trainer.logger=CSVLogger",
        "--trainer.logger.save_dir=logs", "--trainer.callbacks.every_n_train_steps=1",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def own_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of a user's own video, three of them annotated."""
    root = tmp_path_factory.mktemp("own")
    video = moving_shapes(6, 64, 96, num_objects=2, rng=4)
    write_frames(root / "videos" / "shapes", list(video.frames))
    for index in (0, 2, 5):
        write_mask(root / "masks" / "shapes" / f"{index:05d}.png", video.masks[index])
    return root


@pytest.fixture(scope="session")
def finetune_words(tiny_model: Path, own_videos: Path) -> list[str]:
    """Return what makes the fine-tuning recipe small enough for a test, on a user's own video."""
    return [
        f"--config={REPOSITORY / 'recipes' / 'finetune.yaml'}", f"--model.weights={tiny_model}",
        f"--data.root={own_videos}", "--data.crop_size=48",
        "--data.batch_size=1", "--data.samples_per_epoch=1", "--trainer.max_epochs=2", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
        "--trainer.log_every_n_steps=1", "--trainer.num_sanity_val_steps=0",
    ]  # fmt: skip


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
