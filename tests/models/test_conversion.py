"""Reading the authors' files: what is accepted, and what is refused under which name."""

import contextlib
import dataclasses
import io
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from testing.original import state
from vos_zoo import registry
from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError, OutputExistsError, UnknownModelError
from vos_zoo.models.conversion import convert_file, read_original, widen_mask_input
from vos_zoo.weights import load_network

FILES = {"zip": True, "legacy": False}  # the two formats of torch.save


class Payload:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def tensors():
    return OrderedDict(
        weight=torch.arange(6.0).view(2, 3), bias=torch.ones(2, dtype=torch.float16), counter=torch.tensor(3)
    )


def saved(path, content, *, is_zip=True):
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("wrap", ["flat", "module", "resume", "resume-module"])
def test_every_released_layout_reads_alike(tmp_path, form, wrap):
    content = tensors()
    if "module" in wrap:
        content = {f"module.{key}": value for key, value in content.items()}
    if "resume" in wrap:
        content = {"it": 5, "network": content, "optimizer": {"state": {}}, "scheduler": {"last_epoch": 5}}
    original = read_original(saved(tmp_path / "file.pth", content, is_zip=FILES[form]))
    assert list(original) == ["weight", "bias", "counter"]
    assert {key: value.dtype for key, value in original.items()} == {
        "weight": torch.float32,
        "bias": torch.float32,
        "counter": torch.int64,
    }
    assert original["weight"].tolist() == tensors()["weight"].tolist()


def test_module_is_removed_only_when_every_key_has_it(tmp_path):
    path = saved(tmp_path / "file.pth", {"module.a": torch.ones(1), "b": torch.ones(1)})
    assert list(read_original(path)) == ["module.a", "b"]


def test_parameters_and_views_come_back_as_plain_tensors(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    path = saved(tmp_path / "file.pth", {"a": torch.nn.Parameter(base[:, 1]), "b": base.T})
    original = read_original(path)
    assert not original["a"].requires_grad
    assert original["b"].is_contiguous()
    assert original["a"].tolist() == [1.0, 5.0, 9.0]


def html(path):
    path.write_text("<!DOCTYPE html><html><title>Sign in</title></html>")


def empty(path):
    path.touch()


def folder(path):
    path.mkdir()


def safetensors(path):
    save_file({"weight": torch.ones(2)}, path)


def json_text(path):
    path.write_text('{"message": "Not Found"}')


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def ordinary_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/stcn.pth", b"x" * 100)


def torchscript(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("net/data.pkl", "net/constants.pkl", "net/code/net.py"):
            archive.writestr(name, b"")


def noise(path):
    path.write_bytes(bytes(range(7, 256)) * 20)


def cut_zip(path):
    saved(path, tensors())
    path.write_bytes(path.read_bytes()[:-300])


def cut_legacy(path):
    saved(path, tensors(), is_zip=False)
    path.write_bytes(path.read_bytes()[:-10])


def number(path):
    saved(path, 42)


def nothing(path):
    saved(path, {})


def whole_training_state(path):
    saved(path, {"state_dict": tensors(), "epoch": 3})


def not_finite(path):
    saved(path, {"weight": torch.tensor([1.0, float("nan")])})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (html, "HTML page"),
        (empty, "empty file"),
        (folder, "is a folder"),
        (safetensors, "safetensors file.*may be a checkpoint already"),
        (json_text, "text"),
        (pointer, "Git LFS pointer"),
        (ordinary_zip, "ordinary zip archive with weights/stcn.pth"),
        (torchscript, "TorchScript program"),
        (noise, "unknown format"),
        (cut_zip, "cut off"),
        (cut_legacy, "cut off or damaged"),
        (number, "holds a int"),
        (nothing, "holds nothing"),
        (whole_training_state, "'state_dict'"),
        (not_finite, "not finite numbers in weight"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_file_is_named(tmp_path, make, message):
    path = tmp_path / "file.pth"
    make(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_original(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere\.pth does not exist"):
        read_original(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("form", [*FILES, "pickle"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (os.makedirs, "makedirs")],
    ids=["system", "eval", "io"],
)
def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, form, function, name):
    trace = tmp_path / "trace"
    argument = {
        "system": f"mkdir {trace}",
        "eval": f"__import__('os').mkdir({str(trace)!r})",
        "makedirs": str(trace),
    }[name]
    path = tmp_path / "file.pth"
    content = {"weight": Payload(function, argument)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        saved(path, content, is_zip=FILES[form])
    with pytest.raises(CheckpointError, match=rf"({name}|more than tensors).*not executed"):
        read_original(path)
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    path = saved(tmp_path / "file.pth", torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_original(path)


def contents(is_zip):
    buffer = io.BytesIO()
    torch.save(tensors(), buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


@pytest.mark.parametrize("form", FILES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_never_raises_anything_else(tmp_path, form, data):
    intact = contents(FILES[form])
    length = data.draw(st.integers(0, len(intact)), label="length")
    damaged = bytearray(intact[:length])
    for _ in range(data.draw(st.integers(0, 3), label="changes")):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "file.pth"
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(CheckpointError):
        assert all(isinstance(value, torch.Tensor) for value in read_original(path).values())


def test_a_member_whose_name_is_no_text_is_damage(tmp_path):
    intact = contents(is_zip=True)
    directory = intact.index(b"PK\x01\x02")
    damaged = bytearray(intact)
    damaged[directory + 46] = 0x80  # the first byte of the first name
    damaged[directory + 9] |= 0x08  # which is in UTF-8
    path = tmp_path / "file.pth"
    path.write_bytes(bytes(damaged))
    with pytest.raises(CheckpointError, match="damaged zip archive"):
        read_original(path)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path, content):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_original(path)


@pytest.mark.parametrize("kind", ["stcn", "rde", "stm"])
def test_a_converted_file_is_a_checkpoint_with_the_same_numbers(tmp_path, kind):
    original = state.random_state_dict(kind, 0)
    prefix = "module." if kind == "stm" else ""
    path = saved(tmp_path / "file.pth", {prefix + key: value for key, value in original.items()})
    out = convert_file(kind, path, tmp_path / "out")
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    network = load_network(out)
    assert sum(value.numel() for value in network.parameters()) == state.PARAMETERS[kind]
    own = {tensor.sum().item() for tensor in network.state_dict().values() if tensor.ndim == 4}
    theirs = {tensor.sum().item() for key, tensor in original.items() if tensor.ndim == 4 and not state.is_buffer(key)}
    assert own == theirs
    card = (out / "README.md").read_text()
    assert "Licence of the weights" in card
    assert ("non-commercial" in card) == (kind == "stm")
    with pytest.raises(OutputExistsError):
        convert_file(kind, path, tmp_path / "out")
    # Hundreds of megabytes that pytest would keep for three runs.
    path.unlink()
    shutil.rmtree(out)


def test_an_unknown_kind_is_named(tmp_path):
    with pytest.raises(UnknownModelError, match="rde, stcn, stm"):
        convert_file("xmem", tmp_path / "file.pth", tmp_path / "out")


def test_a_paper_of_one_stage_has_no_module_to_initialise(tmp_path):
    with pytest.raises(CheckpointError, match="no modules that a later stage adds"):
        convert_file("stcn", tmp_path / "file.pth", tmp_path / "out", accept_missing=True)


def test_nothing_is_written_for_a_file_that_does_not_fit(tmp_path):
    path = saved(tmp_path / "file.pth", tensors())
    with pytest.raises(CheckpointError, match=r"file\.pth: .*another model"):
        convert_file("stcn", path, tmp_path / "out")
    assert not Path(tmp_path / "out").exists()


def test_a_broken_converter_of_another_package_has_no_say(tmp_path, monkeypatch):
    toy = dataclasses.replace(registry.find_architecture("stm"), name="toy", converter="no_such_package.convert")
    monkeypatch.setattr(registry, "_FROM_OUTSIDE", {"toy": toy})
    path = saved(tmp_path / "file.pth", tensors())
    with pytest.raises(CheckpointError, match="another model"):
        convert_file("stcn", path, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"'toy' is registered with converter='no_such_package\.convert'"):
        convert_file("toy", path, tmp_path / "out")


@pytest.mark.parametrize("fill", ["zeros", "orthogonal"])
def test_widening_appends_channels_last(fill):
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    wide = widen_mask_input(weight, 5, fill)
    assert torch.equal(wide[:, :4], weight)
    assert wide.shape == (8, 5, 3, 3)
    assert bool(wide[:, 4].any()) == (fill == "orthogonal")
