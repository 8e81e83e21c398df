"""Where bundled weights are looked for, and what happens if they are not there or not themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vos_zoo import registry
from vos_zoo.errors import CheckpointError, HubError, MissingFileError, UnknownModelError
from vos_zoo.models.load import load_model
from vos_zoo.registry import WEIGHTS, HubRevision, Weight
from vos_zoo.weights import bundled, checkpoints_folder, locate_weight, verify_weight


@pytest.fixture
def weight(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Weight:
    """``rde.test``, the registry's only weight, which lies in the folder that the environment names."""
    data = (folder / "model.safetensors").read_bytes()
    weight = Weight(
        name="rde.test",
        variant="tiny",
        folder=folder.name,
        num_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        date="2026-01-31",
        licence="Apache-2.0",
        trained_on=(),
    )
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: weight})
    monkeypatch.setenv("VOS_ZOO_CHECKPOINTS", str(folder.parent))
    return weight


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A package without source tree around it and with an empty folder of weights."""
    package = tmp_path / "site-packages" / "vos_zoo"
    (package / "checkpoints").mkdir(parents=True)
    monkeypatch.setattr(bundled, "_PACKAGE", package)
    monkeypatch.delenv("VOS_ZOO_CHECKPOINTS", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return package / "checkpoints"


@pytest.mark.parametrize("name", ["rde", "rde.test"])
def test_a_bundled_weight_loads_by_name_and_says_so(weight, name):
    model = load_model(name, device="cpu")
    assert type(model).__name__ == "RDEModule"
    assert str(model.origin) == "rde.test"
    assert (model.origin.revision, model.origin.sha256) == (None, weight.sha256)


def test_a_name_wins_over_a_folder_of_that_name(weight, tmp_path, monkeypatch):
    (tmp_path / "rde").mkdir()
    monkeypatch.chdir(tmp_path)
    assert type(load_model("rde", device="cpu")).__name__ == "RDEModule"
    with pytest.raises(MissingFileError):
        load_model("./rde", device="cpu")


def test_a_changed_byte_is_refused(weight, folder):
    verify_weight(weight)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"sha256 .* changed the file"):
        load_model("rde", device="cpu")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has {less} bytes.* has {size}"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    ],
    ids=["cut off", "pointer"],
)
def test_a_file_of_another_size_is_refused(weight, folder, content, words):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(CheckpointError, match=words.format(less=weight.num_bytes - 1, size=weight.num_bytes)):
        verify_weight(weight)


def test_a_folder_that_the_environment_names_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("VOS_ZOO_CHECKPOINTS", str(tmp_path / "none"))
    with pytest.raises(MissingFileError, match=r"VOS_ZOO_CHECKPOINTS names .*none"):
        checkpoints_folder()


def test_no_folder_at_all_is_said(installed):
    installed.rmdir()
    with pytest.raises(MissingFileError, match=r"No folder of bundled weights.*VOS_ZOO_CHECKPOINTS"):
        checkpoints_folder()


def test_a_weight_that_does_not_travel_says_where_it_is(weight, installed):
    with pytest.raises(MissingFileError, match=r"does not come with the installed package.*VOS_ZOO_CHECKPOINTS.*clone"):
        load_model("rde", device="cpu")


def test_a_weight_that_should_be_there_says_to_reinstall(weight, installed):
    with pytest.raises(MissingFileError, match=r"belongs to the installed package.*Reinstall"):
        verify_weight(dataclasses.replace(weight, in_wheel=True))


def test_a_clone_is_a_place_too(weight, folder, installed):
    shutil.copytree(folder, Path("checkpoints") / folder.name)
    assert locate_weight(weight) == Path("checkpoints") / folder.name
    assert load_model("rde", device="cpu").origin.name == "rde.test"


def test_a_folder_without_the_weight_is_passed_over(weight, folder, installed, monkeypatch):
    shutil.copytree(folder, installed / folder.name)
    (folder / "model.safetensors").unlink()
    monkeypatch.setenv("VOS_ZOO_CHECKPOINTS", str(folder.parent))
    assert verify_weight(weight) == installed / folder.name


def test_a_weight_of_the_hub_is_fetched_if_no_place_has_it(weight, tiny_model, installed, hub, monkeypatch):
    on_hub = dataclasses.replace(weight, hub=HubRevision("owner/rde", hub.add("owner/rde", tiny_model)))
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: on_hub})
    model = load_model("rde", device="cpu")
    assert str(model.origin) == f"rde.test@{on_hub.hub.revision}"
    assert any("/resolve/" in request for request in hub.requests)
    other = dataclasses.replace(on_hub, sha256="0" * 64)
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: other})
    with pytest.raises(CheckpointError, match=r"has sha256 .*Remove .* load again"):
        load_model("rde", device="cpu")


def test_a_weight_of_the_hub_is_not_fetched_if_it_is_here(weight, hub, monkeypatch):
    on_hub = dataclasses.replace(weight, hub=HubRevision("owner/rde", "0" * 40))
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: on_hub})
    assert load_model("rde", device="cpu").origin.revision is None
    assert hub.requests == []


def test_a_hub_without_the_weight_is_said(weight, installed, hub, monkeypatch):
    on_hub = dataclasses.replace(weight, folder=None, hub=HubRevision("owner/rde", "0" * 40))
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: on_hub})
    with pytest.raises((HubError, MissingFileError), match="has no repository owner/rde"):
        load_model("rde", device="cpu")


@pytest.mark.slow
def test_every_bundled_weight_loads_without_a_network(tmp_path):
    expected = {name: weight.sha256 for name, weight in WEIGHTS.items() if weight.folder is not None}
    code = (
        "import json, vos_zoo\n"
        f"models = [vos_zoo.load_model(name, 'cpu') for name in {list(expected)}]\n"
        "print(json.dumps({str(model.origin): model.origin.sha256 for model in models}))\n"
    )
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "none"), "PYTHONPATH": search_path}
    offline["VOS_ZOO_CHECKPOINTS"] = str(Path(__file__).parents[2] / "checkpoints")  # the wheel has not all of them
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | offline,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == expected
    assert not (tmp_path / "none").exists()


def test_an_unknown_name_is_no_question_to_the_hub(hub):
    with pytest.raises(UnknownModelError):
        load_model("owner", device="cpu")
    assert hub.requests == []
