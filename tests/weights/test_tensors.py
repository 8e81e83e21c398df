"""Filling a network from a file: nothing but the weights themselves takes memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vos_zoo.errors import CheckpointError
from vos_zoo.registry import ARCHITECTURES, find_architecture
from vos_zoo.weights import describe_file
from vos_zoo.weights.checkpoint import build, save_checkpoint_folder
from vos_zoo.weights.tensors import TensorFile, fill, without_storage


@pytest.fixture
def file(tmp_path):
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_file_is_a_mapping_of_tensors(file):
    tensors = TensorFile(file)
    assert set(tensors) == {"weight", "bias"}
    assert len(tensors) == 2
    assert torch.equal(tensors["weight"], torch.ones(2, 3))


def test_a_file_that_changes_meanwhile_is_noticed(file):
    tensors = TensorFile(file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        _ = tensors["weight"]


def test_modules_without_storage_are_filled(file):
    with without_storage():
        layer = nn.Linear(3, 2)
    assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}
    fill(layer, TensorFile(file), file)
    assert torch.equal(layer.weight, torch.ones(2, 3))
    assert layer.weight.requires_grad
    assert isinstance(layer.weight, nn.Parameter)


def test_a_filled_network_does_not_depend_on_the_file(file):
    layer = nn.Linear(3, 2)
    fill(layer, TensorFile(file), file)
    file.write_bytes(b"")
    assert torch.equal(layer.weight, torch.ones(2, 3))


def test_what_is_frozen_stays_frozen(file):
    layer = nn.Linear(3, 2).requires_grad_(False)
    fill(layer, TensorFile(file), file)
    assert not layer.weight.requires_grad


def test_a_refused_file_leaves_the_network_as_it_was(file):
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError, match="not finite"):
        fill(layer, {"weight": torch.ones(2, 3), "bias": torch.tensor([0.0, float("inf")])}, file)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_that_are_no_numbers_are_noticed_in_every_precision(file, value, dtype):
    bias = torch.tensor([0.0, value], dtype=dtype)
    with pytest.raises(CheckpointError, match="not finite numbers of the expected kind in bias"):
        fill(nn.Linear(3, 2), {"weight": torch.ones(2, 3, dtype=dtype), "bias": bias}, file)


def test_modules_of_other_threads_keep_their_storage():
    built = []
    with without_storage():
        thread = threading.Thread(target=lambda: built.append(nn.Linear(3, 2)))
        thread.start()
        thread.join()
    assert built[0].weight.device.type == "cpu"
    assert nn.Linear(3, 2).weight.device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, variant.name) for name, architecture in ARCHITECTURES.items() for variant in architecture.variants],
)
def test_every_module_can_be_built_without_storage(name, variant, tmp_path):
    architecture = find_architecture(name)
    with without_storage():
        module = build(architecture, "module", architecture.new_config(variant), tmp_path)
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    assert all(buffer.device.type == "cpu" for buffer in module.buffers())
    # What is neither parameter nor buffer would stay without storage for ever.
    plain = [value for part in module.modules() for value in vars(part).values() if isinstance(value, torch.Tensor)]
    assert all(tensor.device.type == "cpu" for tensor in plain)


# The peak of resident memory while 8 million parameters load; everything that loads only once has loaded before.
_PEAK = """
import gc, sys
from pathlib import Path
from vos_zoo.models.load import load_model

def resident(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024

kept = [load_model(sys.argv[1], device="cpu")]
for folder in sys.argv[2:]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    model = load_model(folder, device="cpu")
    peak = resident("VmHWM") - before
    print(peak / sum(tensor.nbytes for tensor in model.network.state_dict().values()))
    kept.append(model)  # memory that is free again would be taken first
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_loading_takes_the_weights_memory_and_little_more(tmp_path, tiny_model):
    architecture = find_architecture("rde")
    torch.manual_seed(0)
    network = architecture.load_class("network")(architecture.new_config("small"))
    folders = [save_checkpoint_folder(network, tmp_path / f"half-{half}", card="", half=half) for half in (True, False)]
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path}
    command = [sys.executable, "-c", _PEAK, str(tiny_model), *map(str, folders)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    peaks = [float(line) for line in result.stdout.split()]
    assert len(peaks) == 2
    assert all(0.9 < peak < 1.2 for peak in peaks), peaks  # times the weights in float32


def test_file_kinds(tiny_model, tmp_path):
    assert describe_file(tiny_model / "model.safetensors") == "a safetensors file"
    assert "text" in describe_file(tiny_model / "config.json")
