"""GIEL: the shared battery, and what its paper adds."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch

from vos_zoo.errors import (
    CheckpointError,
    ConfigError,
    EmptyMemoryError,
    MemoryBudgetError,
    MissingFileError,
    ShapeError,
)
from vos_zoo.inference.session import VideoSession
from vos_zoo.layers import ResNetTrunk
from vos_zoo.models.giel import GIELConfig, GIELModule, GIELNetwork
from vos_zoo.models.giel.convert import full_from_fast
from vos_zoo.models.giel.log_odds import product_log_odds
from vos_zoo.models.giel.memory import choose_support
from vos_zoo.models.giel.parts import TemporalAttention, label_maps
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import HEIGHT, VIDEO, WIDTH, ModelTester, ignore, planes, training_batch, unroll
from vos_zoo.weights import save_checkpoint_folder

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


# Support set


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_the_support_set_is_the_papers(size):
    for now in range(1, 60):
        chosen = choose_support(range(now), [True] + [False] * (now - 1), size)
        assert len(chosen) == min(now, size)
        assert chosen == sorted(set(chosen))
        assert {0, now - 1} <= set(chosen)
        if now > size:
            rest = size - 2
            middles = [1 + int((index + 0.5) * (now - 2) / rest) for index in range(rest)]
            assert chosen == [0, *middles, now - 1]


def test_annotated_frames_are_always_in_the_support_set():
    references = [time in (0, 4, 9) for time in range(20)]
    assert choose_support(range(20), references, 5) == [0, 4, 9, 10, 19]
    assert choose_support(range(20), references, 2) == [0, 4, 9, 19]


def test_the_previous_frame_is_a_choice():
    assert choose_support(range(20), [True] + [False] * 19, 3, keep_previous=False) == [0, 5, 15]


def test_of_thinned_frames_the_nearest_are_chosen():
    times = [0, 8, 16, 24, 30, 31]
    assert choose_support(times, [True] + [False] * 5, 4) == [0, 1, 3, 5]


@torch.no_grad()
@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"support": "first"}, [0]),
        ({"support": "previous"}, [3]),
        ({"support_size": 2}, [0, 3]),
        ({"support_size": 3}, [0, 2, 3]),
        ({"support_size": 8}, [0, 1, 2, 3]),
    ],
)
def test_frames_that_support_the_fifth(switches, expected):
    memory, _ = ready(tiny(**switches), 4)
    memory.tick()
    assert [frame.frame for frame in memory.support_frames()] == expected


def test_candidates_are_thinned_evenly():
    network = tiny(max_memory_frames=4)
    session = VideoSession(network, size=None)
    for index in range(30):
        session.step(VIDEO.frames[index % 10], VIDEO.masks[0] if index == 0 else None)
    times = [frame.frame for frame in session._memory.frames]
    assert len(times) == 4
    assert times[-1] - times[0] == 29
    # No more uneven than one removal at a time allows: gaps differ by a factor of two, the last one is open.
    gaps = np.diff(times[:-1])
    assert gaps.max() <= 2 * gaps.min()


@torch.no_grad()
def test_a_byte_budget_holds_and_a_smaller_one_is_refused():
    network = tiny()
    frame_bytes = network.memory_cost(MemoryPolicy(), (48, 64), 2).bytes_per_frame
    frame, masks = network.encode(torch.rand(1, 3, 48, 64)), planes(1, 2, (48, 64))
    memory = network.new_memory(MemoryPolicy(every=1, max_bytes=3 * frame_bytes))
    network.memorize(frame, masks[:, :1], memory, reference=True)
    for index in range(6):
        memory.tick()
        network.segment(frame, memory)
        network.memorize(frame, masks if index >= 3 else masks[:, :1], memory, reference=[1] if index == 3 else False)
        assert memory.nbytes <= 3 * frame_bytes
    assert memory.num_frames == 3
    small = network.new_memory(MemoryPolicy(every=1, max_bytes=2 * frame_bytes - 1))
    with pytest.raises(MemoryBudgetError, match="2 frames are the least"):
        network.memorize(frame, masks, small, reference=True)


@torch.no_grad()
def test_a_sparse_policy_keeps_the_latest_frame_for_one_step():
    network = tiny()
    memory = network.new_memory(MemoryPolicy(every=3, keep_latest=True))
    frame, masks = network.encode(torch.rand(1, 3, 48, 64)), planes(1, 2, (48, 64))
    network.memorize(frame, masks, memory, reference=True)
    kept = []
    for _ in range(7):
        memory.tick()
        network.segment(frame, memory)
        network.memorize(frame, masks, memory)
        kept.append([stored.frame for stored in memory.frames])
    assert kept == [[0, 1], [0, 2], [0, 3], [0, 3, 4], [0, 3, 5], [0, 3, 6], [0, 3, 6, 7]]


# Objects


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
def test_a_late_object_was_absent_before():
    """Gates of earlier frames are those that the object would have had with an empty mask."""
    network = tiny()
    frames = [network.encode(torch.rand(1, 3, 48, 64)) for _ in range(3)]
    masks = planes(1, 2, (48, 64))
    logits = []
    for known in (1, 2):
        memory = network.new_memory()
        first = masks * torch.tensor([1.0, 0.0])[:, None, None]
        network.memorize(frames[0], first[:, :known], memory, reference=True)
        memory.tick()
        network.memorize(frames[1], masks, memory, reference=True)
        memory.tick()
        logits.append(network.segment(frames[2], memory))
    # The background of earlier frames is kept in half precision.
    torch.testing.assert_close(*logits, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_an_object_with_an_empty_mask_gives_finite_logits():
    network = tiny()
    memory = network.new_memory()
    features = network.encode(torch.rand(1, 3, 48, 64))
    network.memorize(features, torch.zeros(1, 2, 48, 64), memory, reference=True)
    memory.tick()
    assert network.segment(features, memory).isfinite().all()


def test_planes_are_checked():
    network = tiny()
    features, masks = network.encode(torch.rand(1, 3, 48, 64)), planes(1, 2, (48, 64))
    memory = network.new_memory()
    with pytest.raises(EmptyMemoryError, match="Memorise a reference frame"):
        network.segment(features, memory)
    with pytest.raises(ShapeError, match=r"Planes \[0, 1\] are new"):
        network.memorize(features, masks, memory)
    network.memorize(features, masks, memory, reference=True)
    with pytest.raises(ShapeError, match="1 object planes, but the memory knows 2"):
        network.memorize(features, masks[:, :1], memory)


@torch.no_grad()
def test_nothing_is_left_of_the_last_object():
    memory, _ = ready(tiny(), 3, objects=2)
    memory.remove_objects([0])
    assert (memory.num_objects, memory.num_frames) == (1, 3)
    memory.remove_objects([0])
    assert (memory.num_objects, memory.num_frames, memory.nbytes) == (0, 0, 0)


# Branches


@torch.no_grad()
def test_probabilities_are_products_of_both_branches():
    network = tiny()
    memory, features = ready(network, 3)
    memory.tick()
    prediction = network.predict(features, memory)
    expected = torch.sigmoid(prediction.saliency.double()) * torch.sigmoid(prediction.instances.double())
    torch.testing.assert_close(prediction.log_odds.double().sigmoid(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(prediction.log_odds, product_log_odds(prediction.instances, prediction.saliency))


def test_both_encoders_start_with_one_projection_and_part_in_training():
    network = GIELNetwork(GIELConfig.tiny())
    query, support = network.query_projection.state_dict(), network.support_projection.state_dict()
    assert all(torch.equal(query[name], support[name]) for name in query)
    assert not {part.data_ptr() for part in query.values()} & {part.data_ptr() for part in support.values()}


@torch.no_grad()
def test_equal_weights_are_no_temporal_attention():
    network = tiny()
    network.temporal_attention.score.weight.zero_()
    plain = GIELNetwork(dataclasses.replace(network.config, temporal_attention=False)).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 2, (48, 64))
    torch.testing.assert_close(unroll(network, frames, masks), unroll(plain, frames, masks), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("ta_mode", "factors"), [("log", [1.0, 1.0]), ("mul", [0.25, 0.75])])
def test_weights_multiply_similarities_on_request(ta_mode, factors):
    keys, log_weights = torch.rand(1, 2, 12, 8), torch.tensor([[0.25, 0.75]]).log()
    expected = keys * torch.tensor(factors)[:, None, None]
    torch.testing.assert_close(tiny(ta_mode=ta_mode)._scale_keys(keys, log_weights), expected.flatten(1, 2))


def test_temporal_weights_sum_to_one():
    log_weights = TemporalAttention(8, "softmax")(torch.randn(2, 4, 12, 8), torch.randn(2, 12, 8))
    torch.testing.assert_close(log_weights.exp().sum(dim=1), torch.ones(2))


def test_every_part_of_the_temporal_attention_learns():
    torch.manual_seed(0)
    attention = TemporalAttention(8, "softmax")
    log_weights = attention(torch.randn(2, 4, 12, 8) * torch.arange(1, 5)[:, None, None], torch.randn(2, 12, 8))
    log_weights[:, 1].sum().backward()
    assert all(part.grad.abs().max() > 0 for part in attention.parameters())


@pytest.mark.parametrize("objects", [1, 3])
def test_labels_sum_to_one(objects):
    probabilities = torch.rand(2, objects + 1, 6, 6).softmax(dim=1)[:, 1:]
    background = 1 - probabilities.sum(dim=1, keepdim=True)
    labels = label_maps(probabilities, background)
    assert labels.shape == (2, objects, 3, 6, 6)
    torch.testing.assert_close(labels.sum(dim=2), torch.ones(2, objects, 6, 6))


@torch.no_grad()
def test_the_support_encoder_sees_the_global_map_of_the_same_frame():
    network, seen = tiny(), []
    network.support_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 3:]))
    memory, features = ready(network, 3)
    masks = planes(1, 2, (48, 64))
    memory.tick()
    saliency = network.predict(features, memory).saliency.sigmoid()
    network.memorize(features, masks * 0.25, memory)
    torch.testing.assert_close(seen[-1], saliency)
    network.memorize(features, masks * 0.25, memory, reference=[1])
    torch.testing.assert_close(seen[-1], torch.maximum(saliency, masks[:, 1:] * 0.25))
    network.memorize(features, masks, memory, reference=True)
    torch.testing.assert_close(seen[-1], masks.sum(dim=1, keepdim=True))
    memory.tick()  # a frame that was not segmented has no map
    network.memorize(features, masks * 0.25, memory)
    torch.testing.assert_close(seen[-1], masks.sum(dim=1, keepdim=True) * 0.25)


def test_fast_and_full_share_their_common_weights():
    fast, full = tiny(variant="fast"), tiny(variant="full")
    missing, unexpected = full.load_state_dict(full_from_fast(fast.state_dict()), strict=False)
    assert unexpected == []
    assert {key.partition(".")[0] for key in missing} == {"instance_decoder"}


# Training


def test_the_label_encoders_statistics_learn():
    module = GIELModule("tiny")
    module.log = ignore
    module.train()
    means = {
        name: part.running_mean.clone()
        for name, part in module.network.named_modules()
        if isinstance(part, torch.nn.BatchNorm2d)
    }
    module.training_step(training_batch(frames=3), 0)
    moved = {
        name for name, mean in means.items() if not torch.equal(module.network.get_submodule(name).running_mean, mean)
    }
    assert moved == {"label_encoder.bn1", "label_encoder.bn2"}


def test_planes_without_an_object_change_nothing():
    losses = []
    for planes_given in (2, 4):
        torch.manual_seed(0)
        module = GIELModule("tiny", weight_coarse=1.0)
        module.log = ignore
        module.train()
        batch = training_batch(frames=3)
        batch["valid_objects"] = torch.nn.functional.pad(batch["valid_objects"], (0, planes_given - 2))
        losses.append(module.training_step(batch, 0))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(
    "options", [{"train_support": "gt"}, {"detach_masks": True}, {"weight_coarse": 0.5}, {"weight_instance": 0.3}]
)
def test_training_options_change_the_gradients(options):
    gradients = []
    for chosen in ({}, options):
        torch.manual_seed(0)
        module = GIELModule("tiny", **chosen)
        module.log = ignore
        module.training_step(training_batch(frames=4), 0).backward()
        gradients.append(module.network.label_encoder.conv1.weight.grad)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not torch.equal(*gradients)


@pytest.mark.parametrize("is_first_object_listed", [True, False])
def test_clips_without_objects_train_on_the_background(is_first_object_listed):
    module = GIELModule("tiny")
    module.log = ignore
    module.train()
    batch = training_batch(frames=3)
    batch["masks"], batch["valid_objects"] = torch.zeros_like(batch["masks"]), torch.zeros(2, 2, dtype=torch.bool)
    batch["valid_objects"][0, 0] = is_first_object_listed
    module.training_step(batch, 0).backward()
    assert all(part.grad is None or part.grad.isfinite().all() for part in module.network.parameters())


class Fitting:
    """What loading initial weights asks a trainer."""

    ckpt_path = None
    datamodule = None


def test_encoders_start_from_mask_rcnn(tmp_path, monkeypatch):
    monkeypatch.setattr(GIELModule, "trainer", Fitting())
    plain = ResNetTrunk("resnet18").state_dict()
    body = {key: tensor + 1 for key, tensor in plain.items() if tensor.is_floating_point()}
    path = tmp_path / "detector.pth"
    torch.save({f"backbone.body.{key}": tensor for key, tensor in body.items()}, path)
    module = GIELModule("tiny", overrides={"backbone": "resnet18"}, mask_rcnn_weights=str(path))
    module.setup("fit")
    network = module.network
    assert torch.equal(network.query_encoder.bn1.running_mean, body["bn1.running_mean"])
    assert torch.equal(network.support_encoder.conv1.weight[:, :3], body["conv1.weight"])
    assert network.support_encoder.conv1.weight[:, 3].abs().max() > 0
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no parameter below backbone"):
        GIELModule("tiny", mask_rcnn_weights=str(path)).setup("fit")
    with pytest.raises(MissingFileError, match=r"missing\.pth was not found"):
        GIELModule("tiny", mask_rcnn_weights=str(tmp_path / "missing.pth")).setup("fit")


def test_keys_start_as_those_of_stcn(tmp_path, monkeypatch):
    monkeypatch.setattr(GIELModule, "trainer", Fitting())
    torch.manual_seed(0)
    stcn = STCNNetwork(STCNConfig.tiny()).eval()
    for buffer in stcn.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    folder = tmp_path / "stcn"
    save_checkpoint_folder(stcn, folder, card="# Untrained\n", half=False)
    module = GIELModule(
        "tiny",
        {"kv_kernel": 3, "similarity": "l2", "key_dim": stcn.config.key_dim, "value_dim": stcn.config.value_dim},
        stcn_weights=str(folder),
    ).eval()
    module.setup("fit")
    image, mask = torch.rand(1, 3, HEIGHT, WIDTH), torch.rand(1, 1, HEIGHT, WIDTH).round()
    with torch.no_grad():
        expected, features = stcn.encode(image), module.network.encode(image)
        keys, _ = module.network._support_tokens(image, mask)
    torch.testing.assert_close(features.key, expected.key)
    torch.testing.assert_close(features.value, expected.thin)
    torch.testing.assert_close(keys[0, 0].T, expected.key[0].flatten(1))
    other = GIELModule("tiny", stcn_weights=str(folder))
    with pytest.raises(CheckpointError, match="does not fit"):
        other.setup("fit")


def test_a_configuration_sets_the_native_size():
    assert VideoSession(tiny(working_size=64)).describe((640, 960)).working_size == (64, 96)


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


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"support_size": 0}, "support_size is 0"),
        ({"support_size": 1}, "use support='first'"),
        ({"variant": "fast", "global_embedding": False}, "Without the global"),
        ({"instance_embedding": False, "global_embedding": False}, "Without the global"),
        ({"variant": "fast", "instance_embedding": False}, "Without the instance"),
        ({"max_objects": 0}, "max_objects is 0"),
    ],
)
def test_contradictions_are_refused(switches, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(GIELConfig.tiny(), **switches)
