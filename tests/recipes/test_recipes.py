"""Every recipe trains, validates and goes on where it stopped."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import pytest
import torch

from testing.recipes import RECIPES, REPOSITORY, load_recipe
from vos_zoo.cli import lightning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning asks torch in the old way
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
]

TINY = {
    "model.config": "tiny",
    "model.evaluation_size": "32",
    "data.batch_size": "2",
    "data.crop_size": "48",
    "data.samples_per_epoch": "4",
    "data.num_workers": "0",
    "data.validation_frames": "3",
    "trainer.accelerator": "cpu",
    "trainer.enable_model_summary": "false",
    "trainer.enable_progress_bar": "false",
    "trainer.limit_val_batches": "1",
    "trainer.log_every_n_steps": "1",
    "trainer.logger": "CSVLogger",
    "trainer.logger.save_dir": "logs",
    "trainer.max_steps": "2",
    "trainer.num_sanity_val_steps": "0",
}


@pytest.fixture
def run(monkeypatch, data_root, tiny_checkpoint, capsys):
    """Run ``lightning fit`` on a recipe in this process; return the folder it wrote to."""

    def fit(recipe: str, *more: str, **settings: str) -> Path:
        values = TINY | settings
        model = load_recipe(recipe)["model"]["init_args"]
        if load_recipe(recipe)["data"]["class_path"] != "SyntheticDataModule":
            values["data.root"] = str(data_root)
        if "initial_weights" in model:
            values["model.initial_weights"] = str(tiny_checkpoint(model["initial_weights"]))
        words = [f"--{name}={value}" for name, value in values.items()]
        path = REPOSITORY / recipe
        monkeypatch.setattr(sys, "argv", ["lightning", "fit", f"--config={path}", *words, *more])
        capsys.readouterr()
        assert lightning.main() == 0, capsys.readouterr().err
        written = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Writing to ")]
        assert len(written) == 1
        return Path(written[0].removeprefix("Writing to "))

    return fit


def checkpoint(folder: Path, name: str = "*") -> dict:
    (path,) = folder.rglob(f"{name}.ckpt")
    loaded: dict = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_there_are_recipes():
    assert {"recipes/rde.yaml", "recipes/stcn.yaml", "recipes/rde/small.yaml", "recipes/stcn/small.yaml"} <= set(
        RECIPES
    )


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "/ablations/" not in recipe])
def test_a_recipe_trains_and_validates(recipe, run):
    folder = run(recipe)
    losses = column(folder, "train/loss")
    assert len(losses) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    scores = column(folder, "val/jf_mean")
    assert len(scores) == 1
    assert 0 <= scores[0] <= 1
    assert (folder / "config.yaml").is_file()


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "/ablations/" in recipe])
def test_an_ablation_trains(recipe, run):
    (loss,) = column(run(recipe, **{"trainer.max_steps": "1", "trainer.limit_val_batches": "0"}), "train/loss")
    assert math.isfinite(loss)
    assert loss > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_says_what_it_is_and_sets_a_seed(recipe):
    text = (REPOSITORY / recipe).read_text()
    assert text.startswith("# ")
    assert isinstance(load_recipe(recipe)["seed_everything"], int)
    assert "." not in load_recipe(recipe)["model"]["class_path"]
    assert "." not in load_recipe(recipe)["data"]["class_path"]


KEEP_LAST = (
    "--trainer.callbacks+=ModelCheckpoint",
    "--trainer.callbacks.save_last=true",
    "--trainer.callbacks.every_n_train_steps=1",
)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_goes_on_where_it_stopped(run):
    recipe = "recipes/stcn.yaml"
    whole = checkpoint(run(recipe, *KEEP_LAST, **{"trainer.max_steps": "3"}), "last")
    (start,) = run(recipe, *KEEP_LAST, **{"trainer.logger.name": "first"}).rglob("last.ckpt")
    assert torch.load(start, weights_only=True)["global_step"] == 2
    resumed = run(
        recipe, *KEEP_LAST, f"--ckpt_path={start}", **{"trainer.max_steps": "3", "trainer.logger.name": "resumed"}
    )
    assert len(column(resumed, "train/loss")) == 1
    state = checkpoint(resumed, "last")
    assert state["global_step"] == 3
    steps = {int(entry["step"]) for entry in state["optimizer_states"][0]["state"].values()}
    assert steps == {3}
    # The third step sees the clips that it sees in a run that was not interrupted.
    difference = max(
        float((tensor - whole["state_dict"][key]).abs().max()) for key, tensor in state["state_dict"].items()
    )
    assert difference < 1e-6
