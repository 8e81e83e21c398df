"""TSN's instance stream and the division between both streams."""

from __future__ import annotations

import dataclasses

import torch

from testing.tsn import tiny
from vos_zoo.models.tsn import TSNConfig
from vos_zoo.models.tsn.instance import InstanceStream, PixelDivision
from vos_zoo.testing import planes


@torch.no_grad()
def test_an_object_absent_from_every_memory_frame_has_no_head(tmp_path):
    network = tiny()
    masks = torch.zeros(1, 2, 48, 64)
    masks[:, 0, 8:24, 8:24] = 1
    frame = network.encode(torch.rand(1, 3, 48, 64))
    memory = network.new_memory()
    network.memorize(frame, masks, memory, reference=True)
    heads = memory.groups[0].bank.heads()
    assert heads.valid.tolist() == [[[1, 0]]]
    stream = network.instance_stream
    assert isinstance(stream, InstanceStream)
    embedding = stream._embed(frame.thin, heads, (48, 64))
    assert embedding[:, 1].abs().max() == 0
    assert embedding[:, 0].abs().max() > 0
    memory.tick()
    assert network.segment(frame, memory).isfinite().all()


@torch.no_grad()
def test_a_frame_in_memory_is_left_to_the_pixel_stream():
    network = tiny(top_k=1)
    frame = network.encode(torch.rand(1, 3, 48, 64))
    memory = network.new_memory()
    network.memorize(frame, planes(1, 2, (48, 64)), memory, reference=True)
    memory.tick()
    prediction = network.predict(frame, memory)
    # The best match of every position is itself: distance 0.
    expected = torch.sigmoid(torch.tensor(-2.0))
    torch.testing.assert_close(prediction.routing, expected.expand(1, 2, 3, 4))
    torch.testing.assert_close(network.view("routing", prediction).map, expected.expand(1, 3, 4))


@torch.no_grad()
def test_the_routing_starts_from_the_papers_formula():
    config = TSNConfig.tiny()
    memory_key, key = torch.randn(2, 2, config.key_dim, 3, 4)
    per_channel, norm = (PixelDivision(dataclasses.replace(config, routing_input=kind)) for kind in ("channel", "norm"))
    distance = (memory_key - key).double().square().sum(1, keepdim=True) / config.key_dim**0.5
    expected = torch.sigmoid(0.02 * distance - 2).float()
    torch.testing.assert_close(per_channel(memory_key, key), expected)
    torch.testing.assert_close(norm(memory_key, key), expected)
