"""The recipe of the prompt network, and the folder that it becomes."""

from __future__ import annotations

import csv
import sys

import pytest
import yaml

from testing.recipes import REPOSITORY
from vos_zoo.cli import lightning
from vos_zoo.cli.main import main
from vos_zoo.prompts.network import PromptNetwork
from vos_zoo.registry import find_helper
from vos_zoo.weights.checkpoint import read_model

RECIPE = REPOSITORY / "recipes" / "prompts" / "small.yaml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
]


def test_the_recipe_trains_a_network_that_can_be_exported(prompt_words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", *prompt_words])
    assert lightning.main() == 0, capsys.readouterr().err
    (metrics,) = tmp_path.rglob("metrics.csv")
    with metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["train/loss"]]) == 2
    assert 0 <= float(next(row["val/iou_box_1"] for row in rows if row["val/iou_box_1"])) <= 1

    (checkpoint,) = tmp_path.rglob("last.ckpt")
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "folder")]) == 0
    assert isinstance(read_model(tmp_path / "folder", "network", find=find_helper), PromptNetwork)


def test_the_pictures_that_measure_are_left_out():
    assert yaml.safe_load(RECIPE.read_text())["data"]["init_args"]["held_back"] == 300
