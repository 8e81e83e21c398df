"""The recipes of the repository."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
# Fine-tuning takes its architecture from a weight and not from the recipe; the detector and the prompt network are no
# models of the zoo. All of them have tests of their own, in tests/recipes.
_FILES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / "recipes").rglob("*.yaml")
    if path.name not in ("finetune.yaml", "detector.yaml") and path.parent.name != "prompts"
)
OVERLAYS = [path for path in _FILES if "/ablations/" in path]
"""Recipes that say what they change in a stage's recipe."""
RECIPES = [path for path in _FILES if path not in OVERLAYS]


def configs_of(recipe: str) -> list[str]:
    """Return the recipes that the first command in a recipe's comment names: a stage and what an overlay changes."""
    if recipe not in OVERLAYS:
        return [recipe]
    command = re.search(r"lightning fit (.*)", (REPOSITORY / recipe).read_text())
    assert command, f"{recipe} shows no command"
    return [f"recipes/{name}.yaml" for name in re.findall(r"--config (\S+)", command.group(1))]


def load_yaml(path: str) -> dict[str, Any]:
    """Read one file as plain data."""
    loaded: dict[str, Any] = copy.deepcopy(_parsed(path))
    return loaded


@functools.cache
def _parsed(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text())


def load_recipe(recipe: str) -> dict[str, Any]:
    """Read a recipe as plain data, an overlay with the stage below it."""
    merged: dict[str, Any] = {}
    for path in configs_of(recipe):
        merged = _overlaid(merged, load_yaml(path))
    return merged


def _overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _overlaid(below[key], value) if isinstance(below.get(key), dict) else value
    return merged
