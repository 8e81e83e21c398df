"""Every recipe takes its first steps on two devices, with the strategy ``ddp`` as it stands.

A parameter without a gradient, for example, is met there by an error in the second step.
"""

from __future__ import annotations

import json
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
    small = {"trainer.sync_batchnorm": "false", "trainer.limit_val_batches": "0"}
    others = dict(
        zip(OTHERS, (detector_words, [*finetune_words, "--data.samples_per_epoch=2"], prompt_words), strict=True)
    )
    of_recipe = others | {recipe: words(recipe, **small) for recipe in (*RECIPES, *OVERLAYS)}
    return {recipe: [*given, "--trainer.devices=2", "--trainer.strategy=ddp"] for recipe, given in of_recipe.items()}


@pytest.fixture(scope="module")
def problems(arguments: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Train all recipes in the same two processes; return by recipe what each of them complains of."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "jobs.json").write_text(json.dumps(arguments))
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
    found: dict[str, list[str]] = {}
    for rank in range(2):
        path = folder / f"rank-{rank}.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            recipe, problem = json.loads(line)
            found.setdefault(recipe, []).append(problem)
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", [*RECIPES, *OVERLAYS, *OTHERS])
def test_first_steps_in_two_processes(recipe: str, problems: dict[str, list[str]]) -> None:
    assert problems.get(recipe) == ["", ""], "\n".join(problems.get(recipe, ["never reached"]))
