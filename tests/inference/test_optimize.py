"""Copies of a network for a session: what they share with the original, and where they live."""

from __future__ import annotations

import torch
from torch import nn

from vos_zoo.inference.optimize import copy_network, optimize_network
from vos_zoo.inference.winograd import WinogradConv2d

META = torch.device("meta")


class Tied(nn.Module):
    """Two convolutions with one weight, a normalisation, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3)
        self.second.weight = self.first.weight
        self.register_buffer("step", torch.tensor(3))


def tensors(network):
    return {**dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers())}


def test_a_copy_shares_its_tensors():
    network = Tied()
    copied = copy_network(network)
    assert copied is not network
    assert copied.first is not network.first
    assert all(part is tensors(network)[name] for name, part in tensors(copied).items())


def test_a_copy_elsewhere_leaves_the_original_where_it_is():
    network = Tied()
    before = {name: part.clone() for name, part in tensors(network).items()}
    copied = copy_network(network, META)
    assert all(part.device == META for part in tensors(copied).values())
    assert copied.second.weight is copied.first.weight
    for name, part in tensors(network).items():
        assert part.device.type == "cpu"
        assert torch.equal(part, before[name])


def test_a_rearranged_network_may_live_elsewhere():
    network = Tied()
    optimized = optimize_network(network, META)
    assert isinstance(optimized.norm, nn.Identity)
    assert all(part.device == META for part in tensors(optimized).values())
    assert isinstance(network.norm, nn.BatchNorm2d)
    assert all(part.device.type == "cpu" for part in tensors(network).values())


def test_a_rearranged_network_is_shared_by_what_is_made_of_it():
    once = optimize_network(nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128)))
    again = optimize_network(once)
    assert again is not once
    assert type(again[0]) is WinogradConv2d
    assert again[0].transformed_weight is once[0].transformed_weight
    image = torch.rand(1, 128, 8, 8)
    with torch.inference_mode():
        assert torch.equal(again(image), once(image))
