"""Every recipe takes its first steps and validates on two devices, with the strategy ``ddp`` as it stands.

A parameter without a gradient, for example, is met there by an error in the second step.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testing.recipes import OVERLAYS, RECIPES

pytestmark = pytest.mark.slow


OTHERS = ("recipes/dmn_aoa/detector.yaml", "recipes/finetune.yaml", "recipes/prompts/small.yaml")


@pytest.fixture(scope="module")
def arguments(words: Any, detector_words: list[str], finetune_words: list[str], prompt_words: list[str]) -> Any:
    """Return the arguments of ``lightning fit`` by recipe."""
    # Batch statistics of several devices together exist on GPUs only.
    small = {"trainer.sync_batchnorm": "false"}
    others = dict(
        zip(OTHERS, (detector_words, [*finetune_words, "--data.samples_per_epoch=2"], prompt_words), strict=True)
    )
    of_recipe = others | {recipe: words(recipe, **small) for recipe in (*RECIPES, *OVERLAYS)}
    return {recipe: [*given, "--trainer.devices=2", "--trainer.strategy=ddp"] for recipe, given in of_recipe.items()}


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest, arguments: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[str, str]]]:
    """Train all recipes that are asked for in the same two processes.

    Returns:
        By recipe, for each process, what it complains of and the folder that it says it writes to.
    """
    asked = {item.callspec.params["recipe"] for item in request.session.items if item.path == request.path}
    folder = tmp_path_factory.mktemp("two")
    jobs = {recipe: words for recipe, words in arguments.items() if recipe in asked}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "PYTHONPATH": search_path, "JSONARGPARSE_DEPRECATION_WARNINGS": "off",
        "WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, str(script), str(folder / "jobs.json"), str(folder)]
    processes = [subprocess.Popen(command, env=environment | {"LOCAL_RANK": str(rank)}) for rank in range(2)]
    try:
        for process in processes:
            process.wait(timeout=1500)
    except subprocess.TimeoutExpired:
        pass  # what was not reached is found missing
    finally:
        for process in processes:
            process.kill()
            process.wait()
    told: dict[str, list[tuple[str, str]]] = {}
    for rank in range(2):
        path = folder / f"rank-{rank}.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            recipe, problem, written = json.loads(line)
            told.setdefault(recipe, []).append((problem, written))
    return told


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", [*RECIPES, *OVERLAYS, *OTHERS])
def test_a_recipe_trains_and_validates_in_two_processes(recipe: str, found: dict[str, list[tuple[str, str]]]) -> None:
    told = found.get(recipe, [])
    assert len(told) == 2, "never reached"
    (problem, written), (other, _) = told
    assert (problem, other) == ("", "")
    if recipe in OTHERS:
        return  # in their own words, which tests of their own check
    folder = Path(written)
    losses = column(folder, "train/loss")
    assert len(losses) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    scores = column(folder, "val/jf_mean")
    assert scores
    assert all(0 <= score <= 1 for score in scores)
    assert (folder / "config.yaml").is_file()
