"""A checkpoint folder comes back as it was written; a damaged one is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError, OutputExistsError, UnknownModelError
from vos_zoo.models.load import load_model
from vos_zoo.registry import ARCHITECTURES, find_architecture
from vos_zoo.weights import load_network, save_checkpoint_folder


def tiny_network(name: str) -> torch.nn.Module:
    architecture = find_architecture(name)
    torch.manual_seed(0)
    return architecture.load_class("network")(architecture.new_config("tiny"))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("half", [True, False])
def test_a_saved_network_comes_back(tmp_path, name, half):
    network = tiny_network(name)
    folder = save_checkpoint_folder(network, tmp_path / "new" / "folder", card="# Card\n", half=half)
    loaded = load_network(folder)
    assert type(loaded) is type(network)
    assert loaded.config == network.config
    assert not loaded.training
    for key, tensor in network.state_dict().items():
        found = loaded.state_dict()[key]
        assert found.dtype == tensor.dtype
        # float16 keeps 11 bits of a normal number; numbers below 6e-5 lose more
        torch.testing.assert_close(found, tensor, rtol=2**-11 if half else 0, atol=6e-8 if half else 0)
    assert (folder / "README.md").read_text() == "# Card\n"


def test_threads_load_and_build_at_once(tiny_model, quick_switches):
    """As several visitors of a page do, beside a program that builds modules of its own."""
    expected = load_network(tiny_model).state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        with ThreadPoolExecutor(4) as threads:
            networks = [threads.submit(load_network, tiny_model) for _ in range(8)]
            while not all(network.done() for network in networks):
                assert nn.Linear(3, 2).weight.device.type == "cpu"
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for network in networks:
        found = network.result().state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


@pytest.fixture
def quick_switches():
    """Let Python change threads so often that what may go wrong between them does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_half_precision_halves_the_file_and_keeps_statistics(tiny_model):
    tensors = load_file(tiny_model / "model.safetensors")
    statistics = [key for key in tensors if key.endswith(("running_mean", "running_var"))]
    assert statistics
    for key, tensor in tensors.items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float32 if key in statistics else torch.float16), key


@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have these permissions")
def test_everybody_may_read_a_checkpoint(tmp_path):
    before = os.umask(0o022)
    try:
        folder = save_checkpoint_folder(tiny_network("rde"), tmp_path / "x", card="")
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o644"}


def test_a_number_beyond_half_precision_is_refused(tmp_path):
    network = tiny_network("rde")
    with torch.no_grad():
        next(network.parameters()).fill_(1e6)
    with pytest.raises(CheckpointError, match=r"leaves the range of float16.*half=False"):
        save_checkpoint_folder(network, tmp_path / "x", card="")


def test_a_checkpoint_is_never_replaced(folder):
    with pytest.raises(OutputExistsError, match=r"model\.safetensors exists"):
        save_checkpoint_folder(tiny_network("rde"), folder, card="")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(MissingFileError, match=name.replace(".", r"\.")):
        load_model(folder, device="cpu")


def header_only(declared: int) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, declared]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "an empty file", id="empty"),
        pytest.param(b"<!DOCTYPE html><html>404</html>", "an HTML page", id="html"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", id="git lfs"),
        pytest.param(b"PK\x03\x04" + bytes(99), "torch.save", id="torch zip"),
        pytest.param(pickle.dumps({"a": 1}), "a Python pickle", id="pickle"),
        pytest.param(header_only(4)[:20], "a safetensors file, but cut off", id="cut in the header"),
        pytest.param(header_only(400), "is cut off", id="cut in the data"),
        pytest.param(struct.pack("<Q", 2) + b"[]", "not a valid safetensors file", id="header is a list"),
        pytest.param(struct.pack("<Q", 7) + b'{"a": 1', "not a valid safetensors file", id="header is not JSON"),
        pytest.param(struct.pack("<Q", 9) + b'{"a": {}}', "not a valid safetensors file", id="entry without offsets"),
        pytest.param(struct.pack("<Q", 2) + b"\xff\xfe", "not a valid safetensors file", id="header is not text"),
        pytest.param(struct.pack("<Q", 2) + b"{}", "lacks", id="no tensor"),
        pytest.param(header_only(4), "has the unknown a", id="wrong tensor"),
    ],
)
def test_a_damaged_weight_file_is_named_for_what_it_is(folder, content, words):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder, device="cpu")
    assert words in str(caught.value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_byte_or_a_cut_never_gives_another_error(folder, tiny_model, position, byte, cut):
    data = bytearray((tiny_model / "model.safetensors").read_bytes())
    where = int(position**4 * len(data))  # more often in the header, which comes first
    damaged = data[:where] if cut else data[:where] + bytes([byte]) + data[where + 1 :]
    (folder / "model.safetensors").write_bytes(damaged)
    try:
        load_network(folder)
    except CheckpointError:
        return
    assert not cut


def rewrite(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def first_weight(tensors: dict[str, torch.Tensor]) -> str:
    return next(key for key, tensor in tensors.items() if tensor.ndim == 4)


def drop(tensors):
    del tensors[first_weight(tensors)]


def add(tensors):
    tensors["surprise"] = torch.zeros(1)


def reshape(tensors):
    key = first_weight(tensors)
    tensors[key] = tensors[key][:1].contiguous()


def spoil(tensors):
    tensors[first_weight(tensors)].fill_(float("nan"))


def to_integers(tensors):
    key = first_weight(tensors)
    tensors[key] = tensors[key].to(torch.int8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop, "lacks"),
        (add, "has the unknown surprise"),
        (reshape, "wrong shapes"),
        (spoil, "not finite"),
        (to_integers, "not finite numbers of the expected kind"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, words):
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=words):
        load_network(folder)


def with_config(**changes):
    def change(data):
        data["config"].update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda data: data.pop("config"), "no object 'config'", id="no config"),
        pytest.param(lambda data: data.update(extra=1), "unknown key 'extra'", id="unknown key"),
        pytest.param(lambda data: data.update(format_version=2), "Update vos_zoo", id="newer format"),
        pytest.param(lambda data: data.update(format_version="1"), "format_version '1'", id="format as text"),
        pytest.param(with_config(key_dimm=8), "Did you mean 'key_dim'", id="unknown hyper-parameter"),
        pytest.param(with_config(key_dim="8"), "config.key_dim is '8' (str)", id="wrong type"),
        pytest.param(with_config(key_dim=True), "config.key_dim is True (bool)", id="boolean for a number"),
        pytest.param(with_config(similarity="cosine"), "one of 'l2', 'dot'", id="wrong choice"),
    ],
)
def test_a_bad_config_is_refused_by_name(folder, change, words):
    path = folder / "config.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError) as caught:
        load_network(folder)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format_version": NaN}', "\ufeff{}"], ids=lambda text: text or "empty"
)
def test_a_config_that_is_no_json_object_is_refused(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_network(folder)


def test_an_unknown_architecture_is_refused(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"rde"', '"rdr"'))
    with pytest.raises(UnknownModelError, match="Did you mean 'rde'"):
        load_network(folder)


def test_a_network_of_somebody_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"Linear is not a network that the registry knows.*vos_zoo\.register"):
        save_checkpoint_folder(torch.nn.Linear(1, 1), tmp_path / "x", card="")
