"""TSN's memory: heads of every remembered frame beside keys and values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from testing.tsn import tiny
from vos_zoo.errors import EmptyMemoryError
from vos_zoo.models.tsn import TSNModule
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import HEIGHT, VIDEO, WIDTH, planes


@pytest.mark.parametrize("switches", [{}, {"head_memory": "pooled"}, {"streams": "instance"}])
def test_an_object_gone_for_good_leaves_finite_numbers(switches):
    torch.manual_seed(0)
    session = TSNModule("tiny", overrides=switches).session(size=None)
    session.step(VIDEO.frames[0], VIDEO.masks[0])
    gone = np.zeros((HEIGHT, WIDTH), np.int32)
    gone[0, 0] = 1  # one pixel is left of the first object, none of the others
    with torch.no_grad():
        session._network.decoder.predict.bias.fill_(-100.0)
    for index in range(1, 14):
        result = session.step(VIDEO.frames[index % 10], gone if index == 5 else None)
        assert result.probabilities.isfinite().all()
        assert (result.mask == (gone if index == 5 else 0)).all()


@torch.no_grad()
def test_a_late_object_does_not_depend_on_earlier_frames():
    network = tiny()
    frames = [network.encode(torch.rand(1, 3, 48, 64)) for _ in range(3)]
    masks = planes(1, 2, (48, 64))
    alone, after = network.new_memory(), network.new_memory()
    network.memorize(frames[0], masks[:, :1], after, reference=True)
    after.tick()
    network.memorize(frames[1], masks, after, reference=[1])
    network.memorize(frames[1], masks[:, [1, 0]], alone, reference=True)
    after.tick()
    prediction = network.predict(frames[2], after)
    late, routing = prediction.logits, prediction.routing
    assert len(after.groups) == 2
    alone.tick()
    torch.testing.assert_close(late[:, 1], network.segment(frames[2], alone)[:, 0], atol=1e-5, rtol=1e-5)
    assert routing.shape == (1, 2, 3, 4)
    assert not torch.equal(routing[:, 0], routing[:, 1])


@torch.no_grad()
@pytest.mark.parametrize("streams", ["both", "pixel", "instance"])
def test_a_byte_budget_holds_with_heads(streams):
    network = tiny(streams=streams)
    frame_bytes = network.memory_cost(MemoryPolicy(), (48, 64), 2).bytes_per_frame
    memory = network.new_memory(MemoryPolicy(every=1, max_bytes=3 * frame_bytes))
    frame, masks = network.encode(torch.rand(1, 3, 48, 64)), planes(1, 2, (48, 64))
    for index in range(6):
        if index:
            memory.tick()
            network.segment(frame, memory)
        network.memorize(frame, masks, memory, reference=index == 0)
        assert memory.nbytes <= 3 * frame_bytes
    assert memory.num_frames == 3


def test_an_empty_memory_is_named():
    network = tiny()
    with pytest.raises(EmptyMemoryError, match="Memorise a reference frame"):
        network.segment(network.encode(torch.rand(1, 3, 32, 32)), network.new_memory())
