"""The recipe that tunes DMN-AOA's detector, and proposals of what it has tuned."""

from __future__ import annotations

import csv
import math
import sys

import pytest
import torch

from vos_zoo.cli import lightning
from vos_zoo.models.dmn_aoa.detector import build_detector

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`"),
]


def test_the_detector_is_tuned_and_can_propose(detector_words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", *detector_words])
    assert lightning.main() == 0, capsys.readouterr().err
    (metrics,) = tmp_path.rglob("metrics.csv")
    with metrics.open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["train/loss"]]
    parts = {
        name: float(row[f"train/{name}"]) for name in ("classifier", "box_reg", "mask", "objectness", "rpn_box_reg")
    }
    assert all(math.isfinite(value) for value in parts.values())
    assert float(row["train/loss"]) == pytest.approx(sum(parts.values()), rel=1e-4)

    checkpoint = tmp_path / "runs" / "dmn_aoa" / "detector" / "last.ckpt"
    written = torch.load(checkpoint, weights_only=True)
    assert written["global_step"] == 1
    # What `vos-zoo proposals --weights` builds; running it at its own size would take minutes.
    tuned = build_detector(checkpoint).state_dict()
    assert all(torch.equal(tensor, written["state_dict"][f"detector.{name}"]) for name, tensor in tuned.items())
