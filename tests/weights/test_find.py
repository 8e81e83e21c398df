"""From a name or a folder to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vos_zoo.errors import CheckpointError, MissingFileError, UnknownModelError
from vos_zoo.models.load import load_model


@pytest.mark.parametrize("spell", [str, Path, lambda path: f"local-dir:{path}"], ids=["text", "path", "prefix"])
def test_a_folder_loads_as_a_module_in_eval_mode(tiny_model, spell):
    model = load_model(spell(tiny_model), device="cpu")
    assert type(model).__name__ == "RDEModule"
    assert not model.training
    assert not model.network.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("xmem", UnknownModelError, ["Unknown model 'xmem'"]),
        ("rde.r50", UnknownModelError, ["vos-zoo convert --from rde"]),
        ("./none", MissingFileError, ["./none does not exist"]),
        ("some/where", MissingFileError, ["some/where does not exist"]),
        ("local-dir:none", MissingFileError, ["none does not exist"]),
        (Path("none"), MissingFileError, ["none does not exist"]),
    ],
)
def test_names_that_lead_nowhere(name, error, words):
    with pytest.raises(error) as caught:
        load_model(name, device="cpu")
    for word in words:
        assert word in str(caught.value)


def test_a_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"a zip archive, as torch\.save writes it.*vos-zoo convert"):
        load_model(str(path), device="cpu")
