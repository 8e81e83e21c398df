"""Which precision is chosen, with a clock that the tests set."""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from testing.graphs import tiny_network
from vos_zoo import VideoSession
from vos_zoo.devices import computes_in
from vos_zoo.inference import precision_choice
from vos_zoo.inference.cuda_graphs import CALLS_BEFORE_REPLAY, Graphs
from vos_zoo.inference.optimize import optimize_network
from vos_zoo.inference.precision_choice import candidates, choose_precision
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.testing.replayed_calls import ReplayedCalls

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


def sessions(network: Any) -> Callable[..., VideoSession]:
    return partial(VideoSession, network, size=None)


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
    assert choose_precision(network, CPU, sessions(network), timer=clock(*seconds)) == expected


@pytest.mark.parametrize("name", ["dmn_aoa", "giel", "hs2s", "rde", "stcn", "stm", "tsn"])
def test_every_model_can_be_timed(name: str) -> None:
    network = tiny_network(name)
    network.working_size = 64
    assert choose_precision(network, CPU, sessions(network), timer=clock(0.3, 0.2)) == "bf16"


def test_the_choice_is_remembered_for_this_network_on_this_machine(
    network: Any, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_precision(network, CPU, sessions(network), timer=clock(0.3, 0.2)) == "bf16"
    assert choose_precision(network, CPU, sessions(network), timer=lambda: pytest.fail("measured again")) == "bf16"
    rearranged = optimize_network(network, CPU)
    again = choose_precision(rearranged, CPU, sessions(rearranged), timer=lambda: pytest.fail("measured again"))
    assert again == "bf16"
    (note,) = notes.iterdir()
    content = json.loads(note.read_text())
    assert content["precision"] == "bf16"
    assert content["seconds"] == pytest.approx({"fp32": 0.3, "bf16": 0.2})
    other = STCNNetwork(replace(STCNConfig.tiny(), decoder_dims=(8, 8, 4)))
    other.working_size = 32
    assert choose_precision(other, CPU, sessions(other), timer=clock(0.2, 0.3)) == "fp32"
    monkeypatch.setattr(precision_choice, "__version__", "99.0")
    assert choose_precision(network, CPU, sessions(network), timer=clock(0.2, 0.3)) == "fp32"
    assert len(list(notes.iterdir())) == 3


class TimedSession:
    """Stands in for a session on a CUDA device whose graphs are replayed from the fifth frame after the first on.

    Until then ``bf16`` is slow, as half precision is where launching its many operations takes the time.
    """

    now = 0.0

    def __init__(self, *, precision: str, graphs: bool) -> None:
        self.is_half, self.has_graphs, self.frames = precision == "bf16", graphs, 0

    def step(self, frame: Any, mask: Any = None) -> None:
        del frame
        is_replayed = self.has_graphs and self.frames > 4
        self.frames += 1
        TimedSession.now += (0.1 if is_replayed else 0.9) if self.is_half else 0.4
        assert (mask is None) == (self.frames > 1)


@pytest.mark.parametrize(("graphs", "expected"), [(True, "bf16"), (False, "fp32")])
def test_what_is_timed_is_what_a_session_will_run(
    network: Any, notes: Path, monkeypatch: pytest.MonkeyPatch, graphs: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a device")
    device = torch.device("cuda", 0)
    for has_graphs in (not graphs, graphs):  # one is no answer for the other
        start = partial(TimedSession, graphs=has_graphs)
        chosen = choose_precision(network, device, start, graphs=has_graphs, timer=lambda: TimedSession.now)
    assert chosen == expected
    assert len(list(notes.iterdir())) == 2


def test_frames_are_timed_once_their_graphs_are_replayed(network: Any) -> None:
    calls = ReplayedCalls()
    graphs = Graphs(calls)
    session = VideoSession(graphs.replaying(network), size=None, optimize=False)
    noted = []

    def timer() -> float:
        noted.append((calls.recorded, calls.replayed))
        return 0.0

    precision_choice._measure({"fp32": session}, (32, 64), CALLS_BEFORE_REPLAY, timer)
    counted = noted[2 * CALLS_BEFORE_REPLAY :]
    assert len({recorded for recorded, _ in counted}) == 1
    replayed = [replays for _, replays in counted]
    assert all(after - before >= 2 for before, after in zip(replayed[::2], replayed[1::2], strict=True))
    assert {graphs.states[name] for name in ("encode", "decoder")} == {"replayed"}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"facts": {}, "precision": "bf16"}', b"\xff"])
def test_a_note_that_is_none_of_ours_is_replaced(network: Any, notes: Path, content: Any) -> None:
    choose_precision(network, CPU, sessions(network), timer=clock(0.3, 0.2))
    (note,) = notes.iterdir()
    note.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert choose_precision(network, CPU, sessions(network), timer=clock(0.2, 0.3)) == "fp32"
    assert json.loads(note.read_text())["precision"] == "fp32"


def test_without_a_cache_it_is_measured_every_time(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_choice, "private_cache_folder", lambda _: None)
    for seconds, expected in (((0.3, 0.2), "bf16"), ((0.2, 0.3), "fp32")):
        assert choose_precision(network, CPU, sessions(network), timer=clock(*seconds)) == expected


def test_only_what_the_device_computes_in_is_tried(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert candidates(CPU) == ("fp32", "bf16")
    assert candidates(torch.device("cuda")) == ("fp32", "tf32", "bf16")
    monkeypatch.setattr(precision_choice, "computes_in", lambda *_: False)
    assert choose_precision(network, CPU, sessions(network), timer=lambda: pytest.fail("measured")) == "fp32"
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
