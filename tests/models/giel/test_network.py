"""GIEL: the shared battery, and what its paper adds."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch

from testing.giel import ready, tiny
from vos_zoo.models.giel import GIELConfig, GIELModule, GIELNetwork
from vos_zoo.models.giel.log_odds import product_log_odds
from vos_zoo.testing import HEIGHT, VIDEO, WIDTH, ModelTester, ignore, planes, training_batch, unroll

# One switch per row of the paper's Table 1, and the readings of what it leaves open.
SWITCHES: dict[str, dict[str, object]] = {
    "no_instance_embedding": {"instance_embedding": False},
    "no_global_embedding": {"global_embedding": False},
    "no_temporal_attention": {"temporal_attention": False},
    "no_refine_decoder": {"variant": "fast"},
    "first_only": {"support": "first"},
    "previous_only": {"support": "previous"},
    "size_2": {"support_size": 2},
    "size_6": {"support_size": 6},
    "without_previous": {"keep_previous": False},
    "share_kv": {"share_kv": True},
    "share_decoder": {"share_decoder": True},
    "share_decoder_without_global": {"share_decoder": True, "global_embedding": False},
    "attention_mul": {"ta_mode": "mul"},
    "attention_sigmoid": {"ta_norm": "sigmoid"},
    "gate_sigmoid": {"label_gate": "sigmoid"},
    "gate_relu": {"label_gate": "relu"},
    "full_without_product": {"full_uses_global": False},
    "memory_union": {"memory_mask": "union"},
    "coarse_layers": {"variant": "fast", "coarse_layers": 3},
    "one_object_at_a_time": {"max_objects": 1},
    "keys_of_stcn": {"similarity": "l2", "kv_kernel": 3},
}


class TestGIEL(ModelTester):
    name = "giel"
    paper_parameters = 40_198_658
    # Clips of the battery are so alike that hidden units are on or off for all support frames at once; what all frames
    # share then moves their scores together, which the softmax takes out. Random keys reach them, see below.
    without_effect = frozenset(
        f"temporal_attention.{name}"
        for name in ("first.weight", "first.bias", "query.weight", "query.bias", "hidden1.bias", "hidden2.bias")
    )

    def new_module(self, **options):
        # The battery holds all batch statistics; that the label encoder's learn by default is tested below.
        return super().new_module(**{"freeze_label_bn": True, **options})


@pytest.mark.parametrize(
    ("variant", "switches", "count"),
    [
        ("r50_fast", {}, 30_428_674),
        ("r50", {"share_decoder": True}, 30_166_017),
        ("r50", {"global_embedding": False}, 30_166_017),
        ("r50", {"temporal_attention": False}, 40_083_202),
        ("r50", {"instance_embedding": False}, 28_549_825),
        ("r50", {"share_kv": True}, 40_198_658 - 656_000),
    ],
)
def test_parameters_of_the_variants(variant, switches, count):
    config = dataclasses.replace(getattr(GIELConfig, variant)(), **switches)
    with torch.device("meta"):
        network = GIELNetwork(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_every_switch_segments_and_trains(switches):
    torch.manual_seed(0)
    module = GIELModule("tiny", overrides=dict(switches))
    module.log = ignore
    module.train()
    module.training_step(training_batch(frames=4), 0).backward()
    idle = [name for name, part in module.network.named_parameters() if part.grad is None]
    # With one support frame there is nothing to weigh.
    has_one = switches.get("support") in ("first", "previous")
    assert [name for name in idle if not (has_one and name.startswith("temporal_attention"))] == []
    assert all(part.grad is None or part.grad.isfinite().all() for part in module.network.parameters())
    session = module.session(size=None)
    for index, frame in enumerate(VIDEO.frames[:8]):
        mask = np.where(VIDEO.masks[index] <= (1 if index == 0 else 3), VIDEO.masks[index], 0)
        result = session.step(frame, mask if index in (0, 3) else None)
        if index == 5:
            session.remove(1)
    assert result.probabilities.isfinite().all()
    assert result.object_ids == (2, 3)
    assert session.memory_bytes <= session.describe((HEIGHT, WIDTH), objects=3).memory_bytes


@torch.no_grad()
@pytest.mark.parametrize("variant", ["fast", "full"])
def test_chunked_objects_equal_unchunked_ones(variant):
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 8, (48, 64))
    chunked, whole = (unroll(tiny(variant=variant, max_objects=count), frames, masks) for count in (3, 8))
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_more_objects_than_in_training_are_reported_once(caplog):
    with caplog.at_level(logging.WARNING):
        ready(tiny(), 3, objects=7)
    assert [record.getMessage() for record in caplog.records] == [
        "7 objects; GIEL's training clips have at most 6. All are segmented."
    ]


@torch.no_grad()
def test_permuting_objects_permutes_log_odds():
    network, order = tiny(), [2, 0, 1]
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 3, (48, 64))
    torch.testing.assert_close(
        unroll(network, frames, masks)[:, order], unroll(network, frames, masks[:, order]), atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_an_object_with_an_empty_mask_gives_finite_logits():
    network = tiny()
    memory = network.new_memory()
    features = network.encode(torch.rand(1, 3, 48, 64))
    network.memorize(features, torch.zeros(1, 2, 48, 64), memory, reference=True)
    memory.tick()
    assert network.segment(features, memory).isfinite().all()


@torch.no_grad()
def test_probabilities_are_products_of_both_branches():
    network = tiny()
    memory, features = ready(network, 3)
    memory.tick()
    prediction = network.predict(features, memory)
    expected = torch.sigmoid(prediction.saliency.double()) * torch.sigmoid(prediction.instances.double())
    torch.testing.assert_close(prediction.logits.double().sigmoid(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(prediction.logits, product_log_odds(prediction.instances, prediction.saliency))


def test_both_encoders_start_with_one_projection_and_part_in_training():
    network = GIELNetwork(GIELConfig.tiny())
    query, support = network.query_projection.state_dict(), network.support_projection.state_dict()
    assert all(torch.equal(query[name], support[name]) for name in query)
    assert not {part.data_ptr() for part in query.values()} & {part.data_ptr() for part in support.values()}


@torch.no_grad()
@pytest.mark.parametrize(("ta_mode", "factors"), [("log", [1.0, 1.0]), ("mul", [0.25, 0.75])])
def test_weights_multiply_similarities_on_request(ta_mode, factors):
    keys, log_weights = torch.rand(1, 2, 12, 8), torch.tensor([[0.25, 0.75]]).log()
    expected = keys * torch.tensor(factors)[:, None, None]
    torch.testing.assert_close(tiny(ta_mode=ta_mode)._scale_keys(keys, log_weights), expected.flatten(1, 2))


@torch.no_grad()
def test_the_support_encoder_sees_the_global_map_of_the_same_frame():
    network, seen = tiny(), []
    network.support_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 3:]))
    memory, features = ready(network, 3)
    masks = planes(1, 2, (48, 64))
    memory.tick()
    prediction = network.predict(features, memory)
    saliency = prediction.saliency.sigmoid()
    network.memorize(features, masks * 0.25, memory, prediction=prediction)
    torch.testing.assert_close(seen[-1], saliency)
    network.memorize(features, masks * 0.25, memory, reference=[1], prediction=prediction)
    torch.testing.assert_close(seen[-1], torch.maximum(saliency, masks[:, 1:] * 0.25))
    network.memorize(features, masks, memory, reference=True)
    torch.testing.assert_close(seen[-1], masks.sum(dim=1, keepdim=True))


@torch.no_grad()
def test_squared_distances_compare_keys_on_request():
    """Where all keys are equally long, both measures differ by the factor 2 alone."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(1, 6, 8, generator=generator), dim=2)
    query, values = torch.randn(1, 8, 2, 2, generator=generator), torch.randn(1, 6, 4, generator=generator)
    of_dot, of_distance = tiny(), tiny(similarity="l2")
    torch.testing.assert_close(
        of_distance._read(query, keys, values, None, None), of_dot._read(2 * query, keys, values, None, None)
    )
    longer = keys * torch.tensor([1, 1, 1, 1, 1, 100.0])[:, None]
    read = of_distance._read(query, longer, torch.eye(6)[None], None, None)
    assert read[:, 5].abs().max() < 1e-6  # far from every query
