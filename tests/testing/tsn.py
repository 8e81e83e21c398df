"""TSN in its smallest size, for tests."""

from __future__ import annotations

import dataclasses

import torch

from vos_zoo.models.tsn import TSNConfig, TSNNetwork


def tiny(**switches: object) -> TSNNetwork:
    torch.manual_seed(0)
    return TSNNetwork(dataclasses.replace(TSNConfig.tiny(), **switches)).eval()
