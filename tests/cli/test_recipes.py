from __future__ import annotations

import json
from pathlib import Path

import pytest

from vos_zoo.cli import recipes
from vos_zoo.cli.main import main
from vos_zoo.cli.recipes import find_recipe, list_recipes, name_recipes
from vos_zoo.errors import MissingFileError


def test_every_model_has_a_recipe_of_its_name(capsys):
    assert main(["list", "--json"]) == 0
    models = {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert models <= list_recipes().keys()


def test_recipes_are_listed_with_what_they_train(capsys):
    assert main(["list", "--recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list_recipes()) + 1
    (first_run,) = [line for line in lines if line.startswith("rde ")]
    assert "RDE-VOS (Li et al., CVPR 2022), a first run: the bundled size on generated moving shapes" in first_run
    assert main(["list", "--recipes", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list(list_recipes())


def test_a_name_wins_over_a_file_and_a_path_means_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rde", "rde.yaml"):
        Path(name).write_text("seed_everything: 1\n")
    assert find_recipe("rde") == str(list_recipes()["rde"])
    assert find_recipe("./rde") == "./rde"
    assert find_recipe("rde.yaml") == "rde.yaml"


@pytest.mark.parametrize("word", ["{trainer: {max_steps: 1}}", "trainer:\n  max_steps: 1"])
def test_settings_in_place_of_a_file_are_left_alone(word):
    assert find_recipe(word) == word


@pytest.mark.parametrize(
    ("word", "near"), [("rdee", "`rde`"), ("recipes/rde.yaml", "`rde`"), ("tsn/2-mian", "`tsn/2-main`"), ("zzz", None)]
)
def test_what_is_missing_is_named_with_the_nearest_names(tmp_path, monkeypatch, word, near):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="no such file and no recipe") as raised:
        find_recipe(word)
    assert word in str(raised.value)
    assert (near or "Did you mean") in str(raised.value) if near else "Did you mean" not in str(raised.value)


@pytest.mark.parametrize("words", [["--config", "stm"], ["-c", "stm"], ["--config=stm"]])
def test_every_way_of_naming_a_configuration_is_understood(words):
    found = name_recipes(["fit", *words, "--data.root", "rde"])
    assert found[2] == str(list_recipes()["stm"])
    assert found[3:] == ["--data.root", "rde"]  # other options keep their words


def test_lost_recipes_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "_PLACES", (tmp_path / "gone",))
    with pytest.raises(MissingFileError, match="Reinstall"):
        list_recipes()
