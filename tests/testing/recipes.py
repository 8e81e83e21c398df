"""The recipes of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
# Fine-tuning takes its architecture from a weight and not from the recipe; tests/recipes/test_finetune.py runs it.
RECIPES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / "recipes").rglob("*.yaml")
    if path.name != "finetune.yaml"
)


def load_recipe(recipe: str) -> dict[str, Any]:
    """Read a recipe as plain data."""
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / recipe).read_text())
    return loaded
