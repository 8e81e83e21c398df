"""Files of torch.save that describe more, or other things, than plain tensors: refused before a number is touched."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from testing.hostile import save_hostile_checkpoint, serve
from testing.limits import memory_limit
from vos_zoo.errors import CheckpointError, ConfigError
from vos_zoo.models.conversion import read_original
from vos_zoo.models.stcn import STCNConfig, STCNModule, STCNNetwork
from vos_zoo.registry import find_architecture
from vos_zoo.training.initial_weights import describe_source, load_initial_weights
from vos_zoo.weights import export_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant):UserWarning"),
    pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning"),
]

FIRST = "key_encoder.conv1.weight"  # of the tiny network
SHAPE = (2**15, 2**16)  # 8 GiB of float32


def described(**changes: Any) -> dict[str, Any]:
    """Return the content of a Lightning checkpoint of an untrained network."""
    torch.manual_seed(0)
    network = STCNNetwork(STCNConfig.tiny())
    return {
        "vos_zoo": {"architecture": "stcn", "config": config_of(network)},
        "state_dict": {f"network.{key}": tensor for key, tensor in network.state_dict().items()},
        "global_step": 3,
    } | changes


def config_of(network: STCNNetwork) -> dict[str, Any]:
    from vos_zoo.configs import config_to_dict

    return config_to_dict(network.config)


def odd_tensors() -> dict[str, tuple[Callable[[], Tensor], str]]:
    def quantised() -> Tensor:
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)

    return {
        "repeated": (lambda: torch.zeros(1).expand(SHAPE), "repeats"),
        "sparse": (lambda: torch.sparse_coo_tensor(size=SHAPE), "sparse"),
        "compressed": (lambda: torch.zeros(3, 3).to_sparse_csr(), "sparse"),
        "meta": (lambda: torch.empty(SHAPE, device="meta"), "without numbers"),
        "quantised": (quantised, "quantised"),
        "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
@pytest.mark.parametrize("kind", odd_tensors())
class TestOddTensors:
    """Each file has two kilobytes; 1 GiB is more than an honest one needs."""

    def test_in_an_authors_file(self, tmp_path: Path, kind: str) -> None:
        make, words = odd_tensors()[kind]
        torch.save({"weight": make()}, tmp_path / "file.pth")
        with memory_limit(2**30), pytest.raises(CheckpointError, match=rf"file\.pth .*{words}"):
            read_original(tmp_path / "file.pth")

    def test_in_a_checkpoint_that_is_exported(self, tmp_path: Path, kind: str) -> None:
        make, words = odd_tensors()[kind]
        content = described()
        content["state_dict"][f"network.{FIRST}"] = make()
        torch.save(content, tmp_path / "last.ckpt")
        with memory_limit(2**30), pytest.raises(CheckpointError, match=rf"last\.ckpt .*{words}"):
            export_checkpoint(tmp_path / "last.ckpt", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_in_a_checkpoint_that_training_starts_from(self, tmp_path: Path, kind: str) -> None:
        make, words = odd_tensors()[kind]
        content = described()
        content["state_dict"][f"network.{FIRST}"] = make()
        torch.save(content, tmp_path / "last.ckpt")
        network = STCNNetwork(STCNConfig.tiny())
        with memory_limit(2**30), pytest.raises(CheckpointError, match=rf"last\.ckpt .*{words}"):
            load_initial_weights(network, "last.ckpt", [tmp_path])


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_many_tensors_of_the_same_numbers(tmp_path: Path) -> None:
    numbers = torch.zeros(2**18)
    torch.save({f"weight{index}": numbers for index in range(4096)}, tmp_path / "file.pth")
    with memory_limit(2**30), pytest.raises(CheckpointError, match="share their numbers"):
        read_original(tmp_path / "file.pth")


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2**24)}, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "file.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert (tmp_path / "file.pth").stat().st_size < 2**18
    with pytest.raises(CheckpointError, match=r"file\.pth .*compressed members"):
        read_original(tmp_path / "file.pth")


def test_tied_weights_may_share_their_numbers(tmp_path: Path) -> None:
    weight = torch.rand(100, 100)
    torch.save({"a": weight, "b": weight.T, "c": weight[3:]}, tmp_path / "file.pth")
    assert torch.equal(read_original(tmp_path / "file.pth")["b"], weight.T)


@pytest.mark.parametrize(
    "content",
    [
        {"global_step": "1 ](javascript:alert(1))<script>"},
        {"global_step": 3.5},
        {"global_step": True},
        {"global_step": torch.tensor(3)},
        {"vos_zoo": "stcn"},
        {"vos_zoo": {"architecture": ["stcn"], "config": {}}},
        {"vos_zoo": {"architecture": "stcn", "config": 3}},
        {"state_dict": [torch.ones(1)]},
        {"state_dict": {3: torch.ones(1)}},
        {"state_dict": {f"network.{FIRST}": 3}},
        {"state_dict": {f"network.{FIRST}": {"a": torch.ones(1)}}},
    ],
    ids=lambda change: f"{next(iter(change))} {next(iter(change.values()))}"[:40],
)
def test_odd_content_of_a_checkpoint_is_one_message(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(described(**content), tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        export_checkpoint(tmp_path / "last.ckpt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_described_source_names_its_network(tmp_path: Path) -> None:
    torch.save(described(), tmp_path / "last.ckpt")
    architecture, config = describe_source(str(tmp_path / "last.ckpt"))
    assert architecture == find_architecture("stcn")
    assert config == STCNConfig.tiny()


@pytest.mark.parametrize("is_remote", [True, False], ids=["remote", "local"])
def test_loading_a_module_from_a_checkpoint_never_runs_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_remote: bool
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    marker = tmp_path / "code was run"
    checkpoint = save_hostile_checkpoint(tmp_path / "evil.ckpt", marker)
    with serve(tmp_path) as address:
        source = f"{address}/evil.ckpt" if is_remote else str(checkpoint)
        with pytest.raises(CheckpointError, match=r"evil\.ckpt .*can run code"):
            STCNModule.load_from_checkpoint(source)
        with pytest.raises(ConfigError, match="weights_only"):
            STCNModule.load_from_checkpoint(source, weights_only=False)
    assert not marker.exists()
