"""Converted STCN weights compute what the restated network computes on the authors' keys."""

import pytest
import torch

from testing.original import clip, late, state, stcn
from vos_zoo import VideoSession
from vos_zoo.errors import CheckpointError
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.models.stcn.convert import convert_state_dict
from vos_zoo.network import MemoryPolicy

# Both sides compute in float32 in different orders; features are of order one to ten.
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


@pytest.fixture(scope="module")
def weights():
    return state.random_state_dict("stcn", 0)


@pytest.fixture(scope="module")
def network(weights):
    network = STCNNetwork(STCNConfig.r50())
    network.load_state_dict(convert_state_dict(weights), strict=True)
    return network.eval()


@pytest.fixture(autouse=True)
def _no_graph():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def scene(weights, network):
    """Frames, masks and both networks' features of two frames."""
    with torch.inference_mode():
        frames, mask = clip.moving_discs(2, 96, 128, objects=3)
        images = clip.padded(network, frames)
        ours = [network.encode(image[None]) for image in images]
        theirs = [stcn.encode_key(weights, image[None]) for image in images]
        return mask, ours, theirs


def test_parameters_are_the_papers(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == state.PARAMETERS["stcn"]
    assert sum(buffer.numel() for buffer in network.buffers()) == state.BUFFERS["stcn"]


def test_every_tensor_arrives(weights):
    converted = convert_state_dict(weights)
    assert len(converted) == state.ENTRIES["stcn"]
    assert {tensor.data_ptr() for tensor in converted.values()} == {tensor.data_ptr() for tensor in weights.values()}


@pytest.mark.parametrize("name", ["key", "thin", "stride16", "stride8", "stride4"])
def test_features_match(scene, name):
    _, ours, theirs = scene
    expected = getattr(theirs[1], name)
    assert expected.std() > 0.1
    torch.testing.assert_close(getattr(ours[1], name), expected, **TOLERANCE)


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_values_match(network, weights, scene, objects):
    mask, ours, theirs = scene
    soft = (0.8 * mask + 0.15)[:objects]  # the sum of the others exceeds one: it must not be clamped
    values = network.value_encoder(ours[0].image, ours[0].stride16, soft[None])[0]
    expected = stcn.encode_value(weights, theirs[0], soft)
    assert expected.std() > 0.1
    torch.testing.assert_close(values, expected, **TOLERANCE)


@pytest.mark.parametrize("top_k", [None, 1, 20, 1000])
def test_memory_read_matches(network, weights, scene, top_k):
    mask, ours, theirs = scene
    memory = network.new_memory(MemoryPolicy(every=1))
    reference = stcn.Memory(weights, top_k=top_k)
    for index in (0, 1):
        soft = mask.roll(5 * index, dims=-1)
        network.memorize(ours[index], soft[None], memory, reference=index == 0)
        memory.tick()
        reference.add(theirs[index].key[0], stcn.encode_value(weights, theirs[index], soft))
    query = theirs[1].key.flip(-1)
    readout = memory.read(query, top_k=top_k)[0]
    torch.testing.assert_close(readout, reference.read(query), **TOLERANCE)


def test_logits_match(network, weights, scene):
    mask, ours, theirs = scene
    memory = network.new_memory(MemoryPolicy(every=5))
    network.memorize(ours[0], mask[None], memory, reference=True)
    reference = stcn.Memory(weights, top_k=20)
    reference.add(theirs[0].key[0], stcn.encode_value(weights, theirs[0], mask))
    expected = stcn.decode(weights, theirs[1], reference.read(theirs[1].key))
    assert expected.std() > 0.5
    assert (expected[0] - expected[1]).std() > 0.1
    memory.tick()
    torch.testing.assert_close(network.segment(ours[1], memory)[0], expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("height", "width", "objects", "count", "every"), [(96, 128, 2, 6, 2), (69, 91, 2, 7, 5), (64, 64, 1, 4, 1)]
)
def test_clip_matches(network, weights, height, width, objects, count, every):
    frames, mask = clip.moving_discs(count, height, width, objects=objects)
    expected = stcn.segment_clip(weights, frames, mask, memory=stcn.Memory(weights), mem_every=every)
    assert expected[1:].std(dim=(2, 3)).min() > 0.05
    probabilities = clip.segment_with_verbs(network, frames, mask, MemoryPolicy(every=every))
    torch.testing.assert_close(probabilities, expected, **TOLERANCE)


def test_a_session_gives_the_same(network, weights):
    frames, mask = clip.moving_discs(5, 53, 75)
    video, id_mask, exact = clip.as_video(frames, mask, ids=(300, 7))  # plane 0 is the smaller id
    expected = stcn.segment_clip(weights, exact, mask.flip(0), memory=stcn.Memory(weights), mem_every=2)
    session = VideoSession(network, size=None, policy=MemoryPolicy(every=2))
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
    model = late.STCN(weights, lambda: stcn.Memory(weights))
    expected = late.segment_clip(model, frames, given, mem_every=2)
    assert expected[:3, 2].max() < 1e-6
    assert expected[4:].std(dim=(2, 3)).min() > 0.03
    found = late.segment_with_session(network, frames, given, MemoryPolicy(every=2), optimize=optimize)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_float64_agrees_closely(weights):
    weights = {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    with torch.device("meta"):
        network = STCNNetwork(STCNConfig.r50())
    network.load_state_dict(convert_state_dict(weights), strict=True, assign=True)
    frames, mask = clip.moving_discs(3, 48, 64, dtype=torch.float64)
    expected = stcn.segment_clip(weights, frames, mask, memory=stcn.Memory(weights), mem_every=1)
    probabilities = clip.segment_with_verbs(network.eval(), frames, mask, MemoryPolicy(every=1))
    torch.testing.assert_close(probabilities, expected, atol=1e-9, rtol=0.0)


def test_stage_0_weights_ignore_the_other_objects_when_evaluated():
    converted = convert_state_dict(state.random_state_dict("stage0", 0))
    stem = converted["value_encoder.trunk.conv1.weight"]
    assert stem.shape == (64, 5, 7, 7)
    assert not stem[:, 4].any()
    assert stem[:, :4].any()


def test_stage_0_weights_get_an_orthogonal_channel_for_training():
    original = state.random_state_dict("stage0", 0)
    stem = convert_state_dict(original, extra_channel="orthogonal")["value_encoder.trunk.conv1.weight"]
    extra = stem[:, 4].flatten(1)
    torch.testing.assert_close(extra.T @ extra, torch.eye(49), atol=1e-5, rtol=0.0)
    assert torch.equal(stem[:, :4], original["value_encoder.conv1.weight"])


def test_an_rde_file_gives_stcn_without_its_aggregation(weights):
    converted = convert_state_dict(state.random_state_dict("rde", 0))
    expected = convert_state_dict(weights)
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("key_comp.bias"), "lacks key_comp.bias"),
        (lambda w: w.update({"extra.weight": torch.ones(1)}), "unexpected extra.weight"),
        (lambda w: w.update({"key_comp.bias": torch.ones(3)}), r"key_comp.bias \(3,\) instead of \(512,\)"),
        (lambda w: w.update({"value_encoder.conv1.weight": torch.ones(64, 3, 7, 7)}), r"value_encoder.conv1.weight"),
        (lambda w: (w.clear(), w.update({"Encoder_M.bn1.bias": torch.ones(64)})), "--from stm"),
        (lambda w: (w.clear(), w.update({"backbone.bias": torch.ones(64)})), "another model"),
    ],
)
def test_a_file_that_does_not_fit_is_named(weights, change, message):
    changed = dict(weights)
    change(changed)
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict(changed)
