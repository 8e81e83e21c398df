"""Measured numbers are written once: the page, the cards and the registry say what the JSON says."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from vos_zoo.registry import WEIGHTS

ROOT = Path(__file__).parent.parent
RECORD = json.loads((ROOT / "benchmarks" / "results" / "score.json").read_text(encoding="utf-8"))


def test_the_page_of_results_is_made_from_the_json():
    make_page = runpy.run_path(str(ROOT / "benchmarks" / "results_page.py"))["make_page"]
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == make_page(RECORD)


@pytest.mark.parametrize("name", WEIGHTS)
def test_card_and_registry_say_what_was_measured(name):
    weight, measured = WEIGHTS[name], RECORD["results"][name]
    assert weight.folder is not None
    card = (ROOT / "checkpoints" / weight.folder / "README.md").read_text(encoding="utf-8")
    assert f"mean J&F over clips | | 22.5 | 56.8 | **{100 * measured['J&F over clips']:.1f}**" in card
    for clip, row in measured["clips"].items():
        scores = f"**{100 * row['J&F']:.1f}** ({100 * row['J']:.1f}, {100 * row['F']:.1f})"
        assert any(line.startswith(f"| {clip} |") and scores in line for line in card.splitlines())
    (score,) = weight.scores
    for found, mean in ((score.j_and_f, "J&F"), (score.j, "J"), (score.f, "F")):
        assert found == pytest.approx(100 * measured[f"{mean} over objects"], abs=0.051)


@pytest.mark.parametrize("mean", ["J&F over clips", "J&F over objects"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_bundled_weight_is_better_than_what_needs_no_training(name, mean):
    assert RECORD["results"][name][mean] > RECORD["results"]["training-free propagation"][mean]
