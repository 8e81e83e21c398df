"""Time in the parts of a network, counted by a clock that a test sets."""

from __future__ import annotations

import pytest
import torch

from testing.dmn_aoa import band, tiny
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.reproduction import parts
from vos_zoo.reproduction.parts import time_parts


@pytest.fixture
def network():
    return tiny().network.eval()


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves one second whenever it is read: a timed call takes one second."""
    seconds = iter(range(10_000))
    monkeypatch.setattr(parts.time, "perf_counter", lambda: float(next(seconds)))


@torch.no_grad()
def run(network, frames=3):
    torch.manual_seed(1)
    memory = network.new_memory()
    network.memorize(network.encode(torch.rand(1, 3, 48, 64)), band(), memory, reference=True)
    for _ in range(frames):
        memory.tick()
        logits = network.segment(network.encode(torch.rand(1, 3, 48, 64)), memory)
    return logits


@pytest.mark.usefixtures("clock")
def test_every_part_has_the_time_of_its_calls(network):
    with time_parts(network) as seconds:
        assert seconds == {"BFE": 0, "OPG": 0, "OTG": 0, "AM": 0, "MRN": 0}
        run(network, frames=3)
    assert seconds["BFE"] == 4  # the annotated frame and three more
    assert seconds["OPG"] == seconds["AM"] == 3
    assert min(seconds.values()) >= 3


@pytest.mark.usefixtures("clock")
def test_what_happens_afterwards_is_not_counted(network):
    with time_parts(network) as seconds:
        pass
    run(network)
    assert set(seconds.values()) == {0.0}
    assert not {"encode", "_match"} & vars(network).keys()


def test_timing_changes_no_result(network):
    expected = run(network)
    with time_parts(network):
        assert torch.equal(run(network), expected)


@pytest.mark.usefixtures("clock")
def test_a_call_that_fails_is_counted_and_the_network_is_as_before(network):
    with pytest.raises(RuntimeError), time_parts(network) as seconds:
        network.encode(torch.zeros(1, 5, 48, 64))
    assert seconds["BFE"] == 1
    assert "encode" not in vars(network)


def test_a_network_without_parts_has_no_times():
    network = STCNNetwork(STCNConfig.tiny())
    with time_parts(network) as seconds:
        network.encode(torch.zeros(1, 3, 32, 32))
    assert seconds == {}
