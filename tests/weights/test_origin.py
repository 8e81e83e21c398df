"""The origin of a weight reads as a name that loads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vos_zoo import load_model
from vos_zoo.weights import Origin

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("name", "revision", "text"),
    [
        ("rde.small", None, "rde.small"),
        ("hf-hub:owner/rde-tiny", COMMIT, f"hf-hub:owner/rde-tiny@{COMMIT}"),
    ],
)
def test_it_is_written_as_load_model_takes_it(name, revision, text):
    assert str(Origin(name, revision, "0" * 64, Path("model.safetensors"))) == text


def test_a_model_loads_again_by_its_origin(tiny_model):
    first = load_model(f"local-dir:{tiny_model}", device="cpu").origin
    assert load_model(str(first), device="cpu").origin == first
