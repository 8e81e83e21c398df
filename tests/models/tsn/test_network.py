"""TSN: the shared battery, and what its paper adds to STCN."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vos_zoo import VideoSession
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.errors import ConfigError, EmptyMemoryError, ShapeError
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.models.tsn import TSNConfig, TSNModule, TSNNetwork
from vos_zoo.models.tsn.averaging import RampedWeightAveraging
from vos_zoo.models.tsn.convert import from_stcn
from vos_zoo.models.tsn.instance import InstanceStream, PixelDivision
from vos_zoo.models.tsn.losses import mask_iou_loss
from vos_zoo.models.tsn.swin import SwinTrunk
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import HEIGHT, VIDEO, WIDTH, ModelTester, ignore, planes, relabel, training_batch, unroll
from vos_zoo.weights import checkpoints_folder

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


def tiny(**switches: object) -> TSNNetwork:
    torch.manual_seed(0)
    return TSNNetwork(dataclasses.replace(TSNConfig.tiny(), **switches)).eval()


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


# The pixel stream is STCN


@pytest.mark.parametrize("has_bias", [False, True])
@torch.no_grad()
def test_the_pixel_stream_is_stcn(has_bias):
    torch.manual_seed(0)
    stcn = STCNNetwork(dataclasses.replace(STCNConfig.tiny(), value_conv_bias=has_bias)).eval()
    network = TSNNetwork(dataclasses.replace(TSNConfig.tiny(), streams="pixel", value_conv_bias=has_bias)).eval()
    network.load_state_dict(from_stcn(stcn.state_dict(), network.config))
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 2, (48, 64))
    assert torch.equal(unroll(network, frames, masks), unroll(stcn, frames, masks))
    # Also in a session with a late object and a correction, which is compared with the authors' procedure for STCN.
    given = {0: relabel(VIDEO.masks[0], (1, 2)), 3: relabel(VIDEO.masks[3], (0, 2, 3))}
    sessions = [VideoSession(each, size=None, policy=MemoryPolicy(every=2)) for each in (network, stcn)]
    for index, frame in enumerate(VIDEO.frames):
        ours, theirs = (session.step(frame, given.get(index)).probabilities for session in sessions)
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_biases_of_stcn_move_into_the_running_means():
    torch.manual_seed(0)
    stcn = STCNNetwork(dataclasses.replace(STCNConfig.tiny(), value_conv_bias=True)).eval()
    for name, part in stcn.named_parameters():
        if name.startswith("value_encoder.trunk") and name.endswith("bias"):
            part.normal_()
    network = TSNNetwork(dataclasses.replace(TSNConfig.tiny(), streams="pixel")).eval()
    network.load_state_dict(from_stcn(stcn.state_dict(), network.config))
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 2, (48, 64))
    # x + b - mean and x - (mean - b) round differently.
    torch.testing.assert_close(unroll(network, frames, masks), unroll(stcn, frames, masks), atol=1e-5, rtol=1e-4)


def test_stcn_in_paper_size_has_only_parameters_of_tsn():
    with torch.device("meta"):
        stcn = STCNNetwork(dataclasses.replace(STCNConfig.r50(), value_conv_bias=False)).state_dict()
        network = TSNNetwork(TSNConfig.r50()).state_dict()
    assert {key: tensor.shape for key, tensor in stcn.items()}.items() <= {
        key: tensor.shape for key, tensor in network.items()
    }.items()


def test_the_bundled_stcn_fits_the_pixel_stream():
    state = load_file(checkpoints_folder() / "stcn-small" / "model.safetensors")
    network = TSNNetwork(TSNConfig.small())
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert unexpected == []
    assert {key.partition(".")[0] for key in missing} == {"instance_stream", "pixel_division"}


# Memory


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


def test_absent_objects_have_finite_gradients():
    module = TSNModule("tiny")
    module.log = ignore
    batch = training_batch(frames=3)
    batch["masks"] = torch.zeros_like(batch["masks"])
    module.training_step(batch, 0).backward()
    assert all(part.grad is None or part.grad.isfinite().all() for part in module.network.parameters())


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
    late = network.segment(frames[2], after)
    assert len(after.groups) == 2
    alone.tick()
    torch.testing.assert_close(late[:, 1], network.segment(frames[2], alone)[:, 0], atol=1e-5, rtol=1e-5)
    assert after.routing.shape == (1, 2, 3, 4)
    assert not torch.equal(after.routing[:, 0], after.routing[:, 1])


@torch.no_grad()
def test_permuting_objects_permutes_logits():
    network = tiny()
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 3, (48, 64))
    order = [2, 0, 1]
    torch.testing.assert_close(
        unroll(network, frames, masks)[:, order], unroll(network, frames, masks[:, order]), atol=1e-5, rtol=1e-5
    )


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


# Pixel division


@torch.no_grad()
def test_a_frame_in_memory_is_left_to_the_pixel_stream():
    network = tiny(top_k=1)
    frame = network.encode(torch.rand(1, 3, 48, 64))
    memory = network.new_memory()
    assert network.view("routing", memory) is None
    network.memorize(frame, planes(1, 2, (48, 64)), memory, reference=True)
    memory.tick()
    network.segment(frame, memory)
    # The best match of every position is itself: distance 0.
    expected = torch.sigmoid(torch.tensor(-2.0))
    torch.testing.assert_close(memory.routing, expected.expand(1, 2, 3, 4))
    torch.testing.assert_close(network.view("routing", memory).map, expected.expand(1, 3, 4))


@torch.no_grad()
def test_the_routing_starts_from_the_papers_formula():
    config = TSNConfig.tiny()
    memory_key, key = torch.randn(2, 2, config.key_dim, 3, 4)
    per_channel, norm = (PixelDivision(dataclasses.replace(config, routing_input=kind)) for kind in ("channel", "norm"))
    distance = (memory_key - key).double().square().sum(1, keepdim=True) / config.key_dim**0.5
    expected = torch.sigmoid(0.02 * distance - 2).float()
    torch.testing.assert_close(per_channel(memory_key, key), expected)
    torch.testing.assert_close(norm(memory_key, key), expected)


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


# Training


def test_batch_normalisation_is_frozen_whole_by_default():
    module = TSNModule("tiny")
    frozen = {name for name, part in module.network.named_parameters() if not part.requires_grad}
    norms = {name for name, part in module.network.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert norms
    assert frozen == {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}


def test_mask_iou_against_the_definition():
    torch.manual_seed(0)
    probabilities = torch.rand(2, 2, 5, 6, dtype=torch.float64)
    masks = torch.randint(0, 3, (2, 5, 6))
    valid = torch.tensor([[True, True], [True, False]])
    losses = []
    for clip, count in ((0, 2), (1, 1)):
        of_clip = []
        for plane in range(count):
            pairs = list(zip(probabilities[clip, plane].flatten(), masks[clip].flatten() == plane + 1, strict=True))
            smaller, larger = (sum(pick(p.item(), float(t)) for p, t in pairs) for pick in (min, max))
            of_clip.append(1 - smaller / larger)
        losses.append(sum(of_clip) / count)
    assert mask_iou_loss(probabilities, masks, valid).item() == pytest.approx(sum(losses) / 2, abs=1e-6)


def test_an_absent_object_that_is_not_predicted_costs_nothing():
    nothing = torch.zeros(1, 2, 4, 4)
    assert mask_iou_loss(nothing, torch.zeros(1, 4, 4), torch.tensor([[True, False]])).item() == 0


class Schedule:
    """What a schedule asks a trainer."""

    estimated_stepping_batches = 100


def test_the_learning_rate_decays_polynomially(monkeypatch):
    module = TSNModule("tiny", poly_power=0.9)
    monkeypatch.setattr(TSNModule, "trainer", Schedule())
    assert [module.learning_rate_factor(step) for step in (0, 50, 100)] == pytest.approx([1, 0.5**0.9, 0])
    assert TSNModule("tiny").learning_rate_factor(50) == 1


def test_adamw_spares_norms_and_biases():
    module = TSNModule("tiny", optimizer="adamw", weight_decay=1e-4)
    module.poly_power = None
    decayed, bare = module.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 1e-4
    assert bare["weight_decay"] == 0
    assert all(part.ndim > 1 for part in decayed["params"])
    assert all(part.ndim == 1 for part in bare["params"])


@pytest.mark.parametrize(("steps", "decay"), [(0, 0.1), (90, 0.91), (10**7, 0.99995)])
def test_averaging_starts_fast(steps, decay):
    callback = RampedWeightAveraging()
    averaged = callback._average(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(steps))
    assert averaged.item() == pytest.approx(decay)


# Configuration and Swin


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


@pytest.mark.parametrize("size", [(33, 47), (5, 9)])
def test_a_session_on_swin_takes_odd_sizes(size):
    torch.manual_seed(0)
    module = TSNModule("tiny", overrides={"backbone": "swin_tiny_patch4_window7_224"})
    session = module.session(size=None)
    mask = np.zeros(size, np.int32)
    mask[1:4, 2:6] = 9
    session.step(np.full((*size, 3), 100, np.uint8), mask)
    result = session.step(np.full((*size, 3), 110, np.uint8))
    assert result.mask.shape == size
    assert result.probabilities.isfinite().all()


@pytest.fixture(scope="module")
def swin() -> SwinTrunk:
    torch.manual_seed(0)
    return SwinTrunk("swin_tiny_patch4_window7_224").eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(48, 80), (16, 16)])
def test_swin_takes_every_multiple_of_sixteen(swin, size):
    features = swin(torch.rand(1, 3, *size))
    for stride, channels, stage in zip((4, 8, 16), swin.channels, features, strict=True):
        assert stage.shape == (1, channels, size[0] // stride, size[1] // stride)


def test_swin_refuses_other_sizes(swin):
    with pytest.raises(ShapeError, match="50x48 pixels"):
        swin(torch.rand(1, 3, 48, 50))


def test_swin_loads_what_timm_publishes(swin):
    state = {key.replace("layers_", "layers.", 1): tensor + 1 for key, tensor in swin.model.state_dict().items()}
    swin.load_imagenet({**state, "head.fc.weight": torch.zeros(1)})
    assert torch.equal(swin.model.patch_embed.proj.weight, state["patch_embed.proj.weight"])
    with pytest.raises(ConfigError, match="is missing"):
        swin.load_imagenet({})


@pytest.mark.parametrize("name", ["resnet50", "swin_nothing"])
def test_swin_refuses_other_networks(name):
    with pytest.raises(ConfigError, match="is no Swin"):
        SwinTrunk(name)
