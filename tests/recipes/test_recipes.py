"""What recipes say, how stages follow each other, and a run that goes on where it stopped."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest
import torch

from testing.recipes import OVERLAYS, RECIPES, REPOSITORY, configs_of, load_recipe, load_yaml
from vos_zoo.cli import lightning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning asks torch in the old way
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
]


@pytest.fixture
def run(monkeypatch, words, capsys):
    """Run ``lightning fit`` on a recipe in this process; return the folder it wrote to."""

    def fit(recipe: str, *more: str, **settings: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["lightning", "fit", *words(recipe, **settings), *more])
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


@pytest.mark.parametrize("recipe", [*RECIPES, *OVERLAYS])
def test_a_recipe_says_what_it_is_and_sets_a_seed(recipe):
    text = (REPOSITORY / recipe).read_text()
    assert text.startswith("# ")
    assert isinstance(load_recipe(recipe)["seed_everything"], int)
    assert "." not in load_recipe(recipe)["model"]["class_path"]
    assert "." not in load_recipe(recipe)["data"]["class_path"]


@pytest.mark.parametrize("recipe", [*RECIPES, *OVERLAYS])
def test_a_recipe_names_its_start(recipe):
    model = load_recipe(recipe)["model"]["init_args"]
    losses = {"frame_weights"}  # weights of another kind
    names = [name for name in model if name.endswith("_weights") and name not in losses]
    starts = [model[name] for name in names if model[name] is not None]
    # Those that run on generated clips without any file begin at random, and say so.
    assert len(starts) == 1
    assert (starts == ["random"]) is (load_recipe(recipe)["data"]["class_path"] == "SyntheticDataModule")


PAPER_RECIPES = [recipe for recipe in RECIPES if recipe.count("/") == 2 and "/small" not in recipe]


@pytest.mark.parametrize("recipe", PAPER_RECIPES)
def test_the_papers_follow_small_objects_too(recipe):
    assert load_recipe(recipe)["data"]["init_args"]["min_object_area"] == 0


def test_the_detector_is_tuned_with_the_papers_batch_and_rate():
    recipe = load_recipe("recipes/dmn_aoa/detector.yaml")
    assert recipe["model"]["init_args"]["learning_rate"] == 1e-6
    assert recipe["data"]["init_args"]["batch_size"] * recipe["trainer"]["accumulate_grad_batches"] == 8


def leaves(settings, path=""):
    """All settings by their dotted names; a list is one, since an overlay replaces it whole."""
    if not isinstance(settings, dict):
        return {path: settings}
    return {key: value for name, part in settings.items() for key, value in leaves(part, f"{path}.{name}").items()}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_names_only_what_differs_from_its_stage(overlay):
    stage, other = configs_of(overlay)
    assert other == overlay
    assert Path(stage).parts[:2] == Path(overlay).parts[:2]
    below, above = leaves(load_yaml(stage)), leaves(load_yaml(overlay))
    assert above
    assert {name: value for name, value in above.items() if below.get(name, ...) == value} == {}
    # Of the callbacks, only the folder of checkpoints is another.
    for before, after in zip(below[".trainer.callbacks"], above[".trainer.callbacks"], strict=True):
        if after["class_path"] == "ModelCheckpoint":
            assert after["init_args"].pop("dirpath") == f"runs/{overlay.removeprefix('recipes/').removesuffix('.yaml')}"
            before["init_args"].pop("dirpath")
        assert after == before


STAGES = [recipe for recipe in RECIPES if re.search(r"/[0-9]-\w+\.yaml$", recipe)]


def test_the_papers_stages_have_recipes():
    stages = ("1-static", "2-bl30k", "3-main")
    expected = {f"recipes/{name}/{stage}.yaml" for name in ("rde", "stcn") for stage in stages}
    expected |= {
        f"recipes/{name}/{stage}.yaml" for name in ("stm", "tsn", "dmn_aoa") for stage in ("1-static", "2-main")
    }
    expected |= {"recipes/tsn/1-static_swin.yaml", "recipes/tsn/2-main_swin.yaml", "recipes/dmn_aoa/2-youtube_vos.yaml"}
    assert set(STAGES) == expected


@pytest.mark.parametrize("recipe", [recipe for recipe in STAGES if "/1-" not in recipe])
def test_a_stage_starts_where_the_one_before_ends(recipe):
    path = Path(recipe)
    number = int(path.name[0])
    (before,) = [
        other
        for other in STAGES
        if Path(other).parent == path.parent
        and int(Path(other).name[0]) == number - 1
        and other.endswith("_swin.yaml") == recipe.endswith("_swin.yaml")
    ]
    callbacks = load_recipe(before)["trainer"]["callbacks"]
    (kept,) = [entry["init_args"] for entry in callbacks if entry["class_path"] == "ModelCheckpoint"]
    assert kept["save_last"]
    assert load_recipe(recipe)["model"]["init_args"]["initial_weights"] == f"{kept['dirpath']}/last.ckpt"


def test_stages_are_chained_by_their_commands_alone(run, caplog):
    run("recipes/stcn/1-static.yaml", "--trainer.callbacks.every_n_train_steps=1")
    start = Path("runs/stcn/1-static/last.ckpt")
    assert start.is_file()
    caplog.clear()
    folder = run("recipes/stcn/2-bl30k.yaml", **{"model.initial_weights": str(start), "trainer.max_steps": "1"})
    assert len(column(folder, "train/loss")) == 1
    assert "start from their initialisation" not in caplog.text  # every parameter came from the stage before


def batch(recipe: str) -> int:
    settings = load_recipe(recipe)
    return settings["data"]["init_args"]["batch_size"] * settings["trainer"].get("accumulate_grad_batches", 1)


@pytest.mark.parametrize(
    ("recipe", "clips", "rate", "steps"),
    [
        # Released settings of STCN and RDE-VOS; STM, Section 3.5; TSN, Section 4.1; GIEL, Section 4.1.
        ("stcn/1-static", 16, 1e-5, 300_000),
        ("stcn/2-bl30k", 8, 1e-5, 500_000),
        ("stcn/3-main", 8, 1e-5, 300_000),
        ("rde/1-static", 64, 2e-5, 75_000),
        ("rde/2-bl30k", 8, 1e-5, 500_000),
        ("rde/3-main", 16, 2e-5, 75_000),
        ("stm/1-static", 4, 1e-5, 300_000),
        ("stm/2-main", 4, 1e-5, 150_000),
        ("tsn/1-static", 4, 1e-5, 200_000),
        ("tsn/2-main", 4, 4e-5, 200_000),
        ("giel/full", 16, 1e-5, 150_000),
        # HS2S, released code; DMN-AOA, Section 4.1: these count epochs.
        ("hs2s/video", 16, None, None),
        ("dmn_aoa/1-static", 12, 1e-4, None),
        ("dmn_aoa/2-main", 4, 1e-6, None),
    ],
)
def test_one_gpu_trains_with_the_papers_batch(recipe, clips, rate, steps):
    settings = load_recipe(f"recipes/{recipe}.yaml")
    assert batch(f"recipes/{recipe}.yaml") == clips
    assert settings["model"]["init_args"].get("learning_rate") == rate
    assert settings["trainer"].get("max_steps") == steps


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
