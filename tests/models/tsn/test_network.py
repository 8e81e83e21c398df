"""TSN: the shared battery, and what its paper adds to STCN."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from testing.tsn import tiny
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.models.tsn import TSNConfig, TSNModule, TSNNetwork
from vos_zoo.testing import HEIGHT, VIDEO, WIDTH, ModelTester, ignore, planes, training_batch, unroll

# One switch per row of the paper's Tables 3, 4 and 5, and the readings of what it leaves open.
SWITCHES: dict[str, dict[str, object]] = {
    "one_head": {"head_memory": "pooled"},
    "gap": {"predictor": "gap"},
    "one_head_gap": {"head_memory": "pooled", "predictor": "gap"},
    "reweight": {"head_op": "reweight"},
    "depth_1": {"head_depth": 1},
    "depth_2": {"head_depth": 2},
    "no_position": {"position": "none"},
    "sine_position": {"position": "sine"},
    "pixel_only": {"streams": "pixel"},
    "equal_weights": {"fusion": "equal"},
    "instance_only": {"streams": "instance"},
    "instance_only_one_head": {"streams": "instance", "head_memory": "pooled"},
    "one_output": {"head_out_channels": 1},
    "image_unit": {"coord_norm": "image"},
    "routing_norm": {"routing_input": "norm"},
    "predictor_position": {"pred_position": "sine"},
    "self_attention": {"pred_self_attention": True},
}


class TestTSN(ModelTester):
    name = "tsn"
    paper_parameters = 71_165_941
    small_parameters = 12_000_000
    # Query and memory keys move by the same bias, so that their distances stay, also for routing; <q, k + b> shifts all
    # similarities of the predictor's query by the same amount.
    without_effect = frozenset(
        {"key_projection.bias", *(f"instance_stream.predictor.layers.{layer}.attention.key.bias" for layer in range(2))}
    )

    def new_module(self, **options):
        # The battery trains the scales of the normalisations too; that they are frozen by default is tested below.
        return super().new_module(**{"freeze_bn_affine": False, **options})


@pytest.mark.parametrize(
    ("variant", "switches", "count"),
    [
        ("swin_b", {}, 113_213_741),
        ("r50", {"streams": "pixel"}, 54_431_940),
        ("r50", {"head_out_channels": 1}, 71_069_110),
        ("r50", {"position": "none"}, 71_157_733),
        ("r50", {"position": "sine"}, 71_190_565),
        ("r50", {"head_depth": 1}, 71_092_069),
        ("r50", {"predictor": "gap"}, 61_708_277),
        ("r50", {"head_op": "reweight"}, 75_950_341),
        ("r50", {"pred_self_attention": True}, 74_320_885),
        ("r50", {"routing_input": "norm"}, 71_165_878),
    ],
)
def test_parameters_of_the_variants(variant, switches, count):
    config = dataclasses.replace(getattr(TSNConfig, variant)(), **switches)
    with torch.device("meta"):
        network = TSNNetwork(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_every_switch_segments_and_trains(switches):
    torch.manual_seed(0)
    module = TSNModule("tiny", overrides=dict(switches), freeze_bn_affine=False)
    module.log = ignore
    module.train()
    module.training_step(training_batch(frames=3), 0).backward()
    assert [name for name, part in module.network.named_parameters() if part.grad is None] == []
    assert all(part.grad.isfinite().all() for part in module.network.parameters())
    session = module.session(size=None)
    for index, frame in enumerate(VIDEO.frames[:8]):
        result = session.step(frame, VIDEO.masks[index] if index in (0, 3) else None)
        if index == 5:
            session.remove(1)
    assert result.probabilities.isfinite().all()
    assert session.memory_bytes <= session.describe((HEIGHT, WIDTH), objects=3).memory_bytes


@torch.no_grad()
def test_permuting_objects_permutes_logits():
    network = tiny()
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 3, (48, 64))
    order = [2, 0, 1]
    torch.testing.assert_close(
        unroll(network, frames, masks)[:, order], unroll(network, frames, masks[:, order]), atol=1e-5, rtol=1e-5
    )


def test_a_session_shows_the_routing_map():
    video = moving_shapes(4, 50, 70, num_objects=2, rng=2)
    session = TSNModule("tiny").session(size=40)
    session.step(video.frames[0], video.masks[0])
    assert session.view("routing") is None
    for frame in video.frames[1:]:
        session.step(frame)
        routing = session.view("routing").map
        assert routing.shape == (50, 70)
        assert routing.dtype == np.float32
        assert 0 < routing.min() <= routing.max() < 1
    session.remove(1)
    assert session.view("routing") is None
