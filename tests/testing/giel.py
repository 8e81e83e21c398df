"""GIEL in its smallest size, for tests."""

from __future__ import annotations

import dataclasses

import torch

from vos_zoo.models.giel import GIELConfig, GIELNetwork
from vos_zoo.testing import planes


def tiny(**switches: object) -> GIELNetwork:
    torch.manual_seed(0)
    return GIELNetwork(dataclasses.replace(GIELConfig.tiny(), **switches)).eval()


def ready(network: GIELNetwork, frames: int, objects: int = 2):
    """Memory with ``frames`` processed frames, and the features of the next one."""
    memory = network.new_memory()
    for time in range(frames):
        features = network.encode(torch.rand(1, 3, 48, 64))
        if time:
            memory.tick()
            network.segment(features, memory)
        network.memorize(features, planes(1, objects, (48, 64)), memory, reference=time == 0)
    return memory, network.encode(torch.rand(1, 3, 48, 64))
