"""Converted RDE-VOS weights compute what the restated network computes on the authors' keys."""

import pytest
import torch

from testing.original import clip, late, rde, state
from vos_zoo import VideoSession
from vos_zoo.errors import CheckpointError
from vos_zoo.models.rde import RDEConfig, RDENetwork
from vos_zoo.models.rde.convert import convert_state_dict
from vos_zoo.models.rde.memory import RDEPolicy

# Both sides compute in float32 in different orders; features are of order one to ten.
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}

ENTRIES = {
    "stm": ("all",),
    "gt": ("first",),
    "last": ("latest",),
    "two-frames": ("latest", "first", "first"),
    "compress": ("rde",),
    "gt-compress": ("rde", "first"),
    "last-compress": ("rde", "latest"),
    "two-frames-compress": ("rde", "latest", "first", "first"),
}


@pytest.fixture(scope="module")
def weights():
    return state.random_state_dict("rde", 0)


@pytest.fixture(scope="module")
def network(weights):
    network = RDENetwork(RDEConfig.r50())
    network.load_state_dict(convert_state_dict(weights), strict=True)
    return network.eval()


@pytest.fixture(autouse=True)
def _no_graph():
    with torch.inference_mode():
        yield


def test_parameters_are_the_papers(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == state.PARAMETERS["rde"]
    assert sum(buffer.numel() for buffer in network.buffers()) == state.BUFFERS["rde"]


def test_every_tensor_arrives(weights):
    converted = convert_state_dict(weights)
    assert len(converted) == state.ENTRIES["rde"]
    assert {tensor.data_ptr() for tensor in converted.values()} == {tensor.data_ptr() for tensor in weights.values()}


@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7), (7, 4), (2, 2)])
@pytest.mark.parametrize(("kind", "channels"), [("key", 64), ("value", 512)])
def test_aggregation_matches(network, weights, kind, channels, height, width):
    generator = torch.Generator().manual_seed(height)
    previous, new = torch.randn(2, 2, channels, height, width, generator=generator)
    expected = rde.aggregate(weights, kind, previous, new)
    torch.testing.assert_close(network.aggregation[kind](previous, new), expected, **TOLERANCE)
    swapped = rde.aggregate(weights, kind, new, previous)
    assert (expected - swapped).abs().max() > 0.1  # the order of the two frames matters


def test_pooling_before_the_projection_would_be_another_network(network, weights):
    x = torch.randn(1, 64, 2, 5, 8, generator=torch.Generator().manual_seed(0))
    name = "mem_compress.key_encoder.non_local"
    frames = network.aggregation["key"].extract(x.permute(2, 0, 1, 3, 4).flatten(0, 1))
    extracted = frames.unflatten(0, (2, 1)).permute(1, 2, 0, 3, 4)
    torch.testing.assert_close(extracted, rde.extract(weights, name, x), **TOLERANCE)
    assert (extracted - rde.extract(weights, name, x, pool_first=True)).abs().max() > 1e-2


@pytest.mark.parametrize("mode", ENTRIES)
def test_clip_matches_in_every_mode(network, weights, mode):
    frames, mask = clip.moving_discs(4, 64, 80)
    memory = rde.Memory(weights, mode=mode, top_k=40)
    # Frame 1 reads before the second addition, frame 2 after it, frame 3 a slot that was aggregated twice.
    expected = rde.segment_clip(weights, frames, mask, memory=memory, mem_every=1)
    assert expected[1:].std(dim=(2, 3)).min() > 0.05
    policy = RDEPolicy(every=1, entries=ENTRIES[mode])
    probabilities = clip.segment_with_verbs(network, frames, mask, policy)
    torch.testing.assert_close(probabilities, expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("height", "width", "objects", "count", "every"), [(96, 128, 2, 6, 3), (53, 91, 3, 5, 2), (64, 64, 1, 5, 1)]
)
def test_clip_matches_with_the_papers_memory(network, weights, height, width, objects, count, every):
    frames, mask = clip.moving_discs(count, height, width, objects=objects)
    expected = rde.segment_clip(weights, frames, mask, memory=rde.Memory(weights), mem_every=every)
    assert expected[1:].std(dim=(2, 3)).min() > 0.05
    entries = network.default_policy().entries
    probabilities = clip.segment_with_verbs(network, frames, mask, RDEPolicy(every=every, entries=entries))
    torch.testing.assert_close(probabilities, expected, **TOLERANCE)


def test_the_default_policy_is_the_official_default(network, weights):
    frames, mask = clip.moving_discs(5, 48, 64)
    expected = rde.segment_clip(weights, frames, mask, memory=rde.Memory(weights), mem_every=3)
    probabilities = clip.segment_with_verbs(network, frames, mask, None)
    torch.testing.assert_close(probabilities, expected, **TOLERANCE)


def test_a_session_gives_the_same(network, weights):
    frames, mask = clip.moving_discs(5, 53, 75)
    video, id_mask, exact = clip.as_video(frames, mask, ids=(300, 7))  # plane 0 is the smaller id
    expected = rde.segment_clip(weights, exact, mask.flip(0), memory=rde.Memory(weights), mem_every=2)
    session = VideoSession(network, size=None, policy=RDEPolicy(every=2, entries=network.default_policy().entries))
    for index, frame in enumerate(video):
        result = session.step(frame, id_mask if index == 0 else None)
        torch.testing.assert_close(result.probabilities, expected[index], **TOLERANCE)
        ranked = expected[index].sort(dim=0, descending=True)
        is_clear = (ranked.values[0] - ranked.values[1] > 1e-3).numpy()
        assert is_clear.mean() > 0.9
        winner = torch.tensor([0, 7, 300])[ranked.indices[0]].numpy()
        assert (result.mask == winner)[is_clear].all()


@pytest.mark.parametrize("optimize", [False, True])
def test_a_session_with_late_and_corrected_objects_gives_the_same(network, weights, optimize):
    frames, given = late.scene()
    # Two objects enter together, so that they share a group; neither frame 3 nor 5 is a multiple of the interval.
    expected = late.segment_clip(late.RDE(weights, lambda: rde.Memory(weights)), frames, given, mem_every=2)
    assert expected[:3, 2].max() < 1e-6
    assert expected[4:].std(dim=(2, 3)).min() > 0.03
    policy = RDEPolicy(every=2, entries=network.default_policy().entries)
    found = late.segment_with_session(network, frames, given, policy, optimize=optimize)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_the_last_frame_of_a_clip_does_not_matter_to_earlier_ones(weights):
    frames, mask = clip.moving_discs(4, 64, 64)
    longer = rde.segment_clip(weights, frames, mask, memory=rde.Memory(weights), mem_every=1)
    shorter = rde.segment_clip(weights, frames[:3], mask, memory=rde.Memory(weights), mem_every=1)
    torch.testing.assert_close(longer[:3], shorter, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("kind", ["stcn", "stage0"])
def test_a_file_without_aggregation_is_refused_unless_a_fresh_one_is_wanted(kind):
    original = state.random_state_dict(kind, 0)
    with pytest.raises(CheckpointError, match="no aggregation module"):
        convert_state_dict(original)
    converted = convert_state_dict(original, accept_missing=True)
    assert len(converted) == state.ENTRIES["rde"]
    assert converted["aggregation.value.squeeze.weight"].std() > 0
    assert converted["value_encoder.trunk.conv1.weight"].shape[1] == 5


@pytest.mark.parametrize("accept_missing", [False, True])
def test_a_file_of_another_model_is_not_taken_for_stage_0(accept_missing):
    with pytest.raises(CheckpointError, match="--from stm"):
        convert_state_dict({"Encoder_M.bn1.bias": torch.ones(64)}, accept_missing=accept_missing)


def test_a_file_that_has_an_aggregation_keeps_it(weights):
    converted = convert_state_dict(weights, accept_missing=True)
    assert converted["aggregation.key.squeeze.bias"] is weights["mem_compress.compress_key.bias"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("mem_compress.key_encoder.conv1.aspp3.atrous_conv.weight"), "lacks mem_compress.key_encoder"),
        (lambda w: w.update({"mem_compress.extra": torch.ones(1)}), "unexpected mem_compress.extra"),
        (lambda w: w.update({"mem_compress.compress_key.bias": torch.ones(3)}), r"compress_key.bias \(3,\)"),
    ],
)
def test_a_file_that_does_not_fit_is_named(weights, change, message):
    changed = dict(weights)
    change(changed)
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict(changed)
