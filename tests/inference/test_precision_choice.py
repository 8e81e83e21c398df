"""Which precision is chosen, with a clock that the tests set."""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from testing.graphs import tiny_network
from vos_zoo import VideoSession
from vos_zoo.devices import computes_in
from vos_zoo.inference import precision_choice
from vos_zoo.inference.precision_choice import candidates, choose_precision
from vos_zoo.models.stcn import STCNConfig, STCNNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CPU = torch.device("cpu")
FRAMES = 5  # of each precision


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a processor that has bfloat16."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(precision_choice, "computes_in", lambda dtype, _: dtype == torch.bfloat16)
    return tmp_path / "vos_zoo" / "precision"


@pytest.fixture
def network() -> STCNNetwork:
    torch.manual_seed(0)
    network = STCNNetwork(STCNConfig.tiny())
    network.working_size = 32
    return network


def clock(*seconds: float) -> Callable[[], float]:
    """A clock that says a frame takes the first time in fp32, the second in bf16, whatever it takes."""

    def times() -> Iterator[float]:
        now = 0.0
        for index in itertools.count():
            yield now
            now += seconds[index % len(seconds)] if index < len(seconds) * FRAMES else pytest.fail("too many frames")
            yield now

    return times().__next__


@pytest.mark.parametrize(
    ("seconds", "expected"), [((0.3, 0.2), "bf16"), ((0.2, 0.3), "fp32"), ((0.2, 0.19), "fp32"), ((0.2, 0.17), "bf16")]
)
def test_the_fastest_is_chosen_and_of_nearly_equal_ones_the_most_exact(
    network: Any, seconds: tuple[float, float], expected: str
) -> None:
    assert choose_precision(network, CPU, network.default_policy(), timer=clock(*seconds)) == expected


@pytest.mark.parametrize("name", ["dmn_aoa", "giel", "hs2s", "rde", "stcn", "stm", "tsn"])
def test_every_model_can_be_timed(name: str) -> None:
    network = tiny_network(name)
    network.working_size = 64
    assert choose_precision(network, CPU, network.default_policy(), timer=clock(0.3, 0.2)) == "bf16"


def test_the_choice_is_remembered_for_this_network_on_this_machine(
    network: Any, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = network.default_policy()
    assert choose_precision(network, CPU, policy, timer=clock(0.3, 0.2)) == "bf16"
    assert choose_precision(network, CPU, policy, timer=lambda: pytest.fail("measured again")) == "bf16"
    (note,) = notes.iterdir()
    content = json.loads(note.read_text())
    assert content["precision"] == "bf16"
    assert content["seconds"] == pytest.approx({"fp32": 0.3, "bf16": 0.2})
    other = STCNNetwork(replace(STCNConfig.tiny(), decoder_dims=(8, 8, 4)))
    other.working_size = 32
    assert choose_precision(other, CPU, policy, timer=clock(0.2, 0.3)) == "fp32"
    monkeypatch.setattr(precision_choice, "__version__", "99.0")
    assert choose_precision(network, CPU, policy, timer=clock(0.2, 0.3)) == "fp32"
    assert len(list(notes.iterdir())) == 3


@pytest.mark.parametrize("content", ["", "[]", "{", '{"facts": {}, "precision": "bf16"}', b"\xff"])
def test_a_note_that_is_none_of_ours_is_replaced(network: Any, notes: Path, content: Any) -> None:
    policy = network.default_policy()
    choose_precision(network, CPU, policy, timer=clock(0.3, 0.2))
    (note,) = notes.iterdir()
    note.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert choose_precision(network, CPU, policy, timer=clock(0.2, 0.3)) == "fp32"
    assert json.loads(note.read_text())["precision"] == "fp32"


def test_without_a_cache_it_is_measured_every_time(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_choice, "private_cache_folder", lambda _: None)
    for seconds, expected in (((0.3, 0.2), "bf16"), ((0.2, 0.3), "fp32")):
        assert choose_precision(network, CPU, network.default_policy(), timer=clock(*seconds)) == expected


def test_only_what_the_device_computes_in_is_tried(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert candidates(CPU) == ("fp32", "bf16")
    assert candidates(torch.device("cuda")) == ("fp32", "tf32", "bf16")
    monkeypatch.setattr(precision_choice, "computes_in", lambda *_: False)
    assert choose_precision(network, CPU, network.default_policy(), timer=lambda: pytest.fail("measured")) == "fp32"
    monkeypatch.setattr(precision_choice, "computes_in", computes_in)
    assert candidates(torch.device("cuda")) == ("fp32", "tf32", "bf16", "fp16")


def test_a_session_says_what_was_chosen(
    network: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision_choice, "_measure", lambda *_: {"fp32": 0.3, "bf16": 0.2})
    with caplog.at_level(logging.INFO):
        session = VideoSession(network, size=None, precision="auto")
    assert session.precision == "bf16"
    assert "Chose precision bf16" in caplog.text
    assert next(part for part in session.network.parameters() if part.ndim == 4).dtype == torch.bfloat16
    assert next(network.parameters()).dtype == torch.float32
