"""Contradictions in TSN's configuration."""

from __future__ import annotations

import dataclasses

import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.models.tsn import TSNConfig


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"head_depth": 0}, "depth 0"),
        ({"pred_heads": 3}, "3 heads on 16"),
        ({"pred_layers": 0}, "0 layers"),
        ({"position": "sine", "head_channels": 6}, "multiple of 4"),
        ({"predictor": "gap", "pred_position": "sine"}, "pred_position"),
        ({"coord_scale": 0.0}, "coord_scale"),
    ],
)
def test_contradictions_are_refused(switches, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(TSNConfig.tiny(), **switches)
