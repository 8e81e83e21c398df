"""Converted STM weights compute what the restated network computes on the authors' keys."""

import pytest
import torch

from testing.original import blocks, clip, late, state, stm
from vos_zoo import VideoSession
from vos_zoo.errors import CheckpointError
from vos_zoo.models.stm import STMConfig, STMNetwork
from vos_zoo.models.stm.convert import convert_state_dict
from vos_zoo.network import MemoryPolicy

# Both sides compute in float32 in different orders; features are of order one to ten.
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}
IMAGE_STATISTICS = 4  # entries that the zoo does not keep, 12 numbers


@pytest.fixture(scope="module")
def weights():
    return state.random_state_dict("stm", 0)


@pytest.fixture(scope="module")
def network(weights):
    network = STMNetwork(STMConfig.r50())
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
        ours = [network.encode(image[None]) for image in blocks.normalise(frames)]
        theirs = [stm.encode_query(weights, frame[None]) for frame in frames]
        return mask, ours, theirs


def keep_all(every=5):
    """STM's memory: every so many frames for good, and the previous frame."""
    return MemoryPolicy(every=every, keep_latest=True)


def test_parameters_are_the_papers(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == state.PARAMETERS["stm"]
    assert sum(buffer.numel() for buffer in network.buffers()) == state.BUFFERS["stm"] - 12


def test_every_tensor_arrives(weights):
    converted = convert_state_dict(weights)
    assert len(converted) == state.ENTRIES["stm"] - IMAGE_STATISTICS
    learnt = {tensor.data_ptr() for key, tensor in weights.items() if not key.endswith((".mean", ".std"))}
    assert {tensor.data_ptr() for tensor in converted.values()} == learnt


@pytest.mark.parametrize("name", ["key", "value", "stride8", "stride4"])
def test_query_features_match(scene, name):
    _, ours, theirs = scene
    expected = getattr(theirs[1], name)
    assert expected.std() > 0.1
    torch.testing.assert_close(getattr(ours[1], name), expected, **TOLERANCE)


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_memory_keys_and_values_match(network, weights, scene, objects):
    mask, ours, theirs = scene
    soft = (0.8 * mask + 0.15)[:objects]
    if objects == 3:
        soft = (soft + 0.4).clamp(max=1)  # the sum of the others exceeds one and has to be clamped
        assert blocks.others(soft).max() > 1.2
    key_and_value = network.memory_projection(network.memory_encoder(ours[0].image, soft[None]))
    for found, expected in zip(key_and_value, stm.encode_memory(weights, theirs[0].image, soft), strict=True):
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, **TOLERANCE)


def test_memory_read_and_logits_match(network, weights, scene):
    mask, ours, theirs = scene
    memory = network.new_memory(keep_all())
    entries = []
    for index in (0, 1):
        soft = mask.roll(5 * index, dims=-1)
        network.memorize(ours[index], soft[None], memory, reference=True)
        memory.tick()
        entries.append(stm.encode_memory(weights, theirs[index].image, soft))
    keys = torch.stack([key for key, _ in entries], dim=2)
    values = torch.stack([value for _, value in entries], dim=2)
    query = theirs[1]._replace(key=theirs[1].key.flip(-1))
    expected = stm.read_memory(query.key, keys, values)
    torch.testing.assert_close(memory.read(query.key, top_k=None)[0], expected, **TOLERANCE)
    two = stm.decode(weights, query, expected)
    memory.tick()
    logits = network.segment(ours[1]._replace(key=query.key), memory)[0]
    difference = two[:, 1] - two[:, 0]
    assert difference.std() > 0.5
    assert (difference[0] - difference[1]).std() > 0.1
    torch.testing.assert_close(logits, difference, **TOLERANCE)
    torch.testing.assert_close(logits.sigmoid(), stm.object_probabilities(two), **TOLERANCE)


@pytest.mark.parametrize(
    ("height", "width", "objects", "count", "every"), [(96, 128, 2, 5, 2), (69, 91, 3, 3, 5), (64, 64, 1, 4, 1)]
)
def test_clip_matches(network, weights, height, width, objects, count, every):
    frames, mask = clip.moving_discs(count, height, width, objects=objects)
    expected = stm.segment_clip(weights, frames, mask, keep_every=every)
    assert expected[1:].std(dim=(2, 3)).min() > 0.05
    probabilities = clip.segment_with_verbs(network, frames, mask, keep_all(every))
    torch.testing.assert_close(probabilities, expected, **TOLERANCE)


def test_the_default_policy_is_the_papers(network, weights):
    frames, mask = clip.moving_discs(7, 48, 64)  # frame 6 reads frames 0 and 5, frame 5 reads frames 0 and 4
    expected = stm.segment_clip(weights, frames, mask)
    torch.testing.assert_close(clip.segment_with_verbs(network, frames, mask, None), expected, **TOLERANCE)


def test_a_session_gives_the_same(network, weights):
    frames, mask = clip.moving_discs(3, 53, 75)
    video, id_mask, exact = clip.as_video(frames, mask, ids=(300, 7))  # plane 0 is the smaller id
    expected = stm.segment_clip(weights, exact, mask.flip(0))
    session = VideoSession(network, size=None)
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
    # Few frames, because random weights multiply differences about fifteen-fold from frame to frame.
    frames, given = late.scene(first=1, second=2, count=5)
    expected = late.segment_clip(late.STM(weights), frames, given, mem_every=2)
    assert expected[:1, 2].max() < 1e-6
    assert expected[3:].std(dim=(2, 3)).min() > 0.03
    found = late.segment_with_session(network, frames, given, keep_all(2), optimize=optimize)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_each_frame_matches_after_the_same_masks(network, weights):
    frames, mask = clip.moving_discs(6, 53, 75)
    expected = stm.segment_clip(weights, frames, mask, keep_every=2)
    padding = blocks.padding_to_16(53, 75)
    memory = network.new_memory(keep_all(2))
    for index, image in enumerate(clip.padded(network, frames)):
        features = network.encode(image[None])
        if index > 0:
            memory.tick()
            logits = network.segment(features, memory)[0]
            found = blocks.soft_aggregate(logits.sigmoid()).softmax(dim=0)
            torch.testing.assert_close(blocks.crop(found, padding, 53, 75), expected[index], **TOLERANCE)
        masks = torch.nn.functional.pad(expected[index][1:], padding)
        network.memorize(features, masks[None], memory, reference=index == 0)


def test_what_is_predicted_in_the_padding_is_not_memorised(network, weights):
    frames, mask = clip.moving_discs(3, 53, 75)
    expected = stm.segment_clip(weights, frames, mask)
    padding = blocks.padding_to_16(53, 75)
    memory = network.new_memory(keep_all())
    images = clip.padded(network, frames)
    first, second, third = (network.encode(image[None]) for image in images)
    network.memorize(first, torch.nn.functional.pad(mask, padding)[None], memory, reference=True)
    memory.tick()
    predicted = blocks.soft_aggregate(network.segment(second, memory)[0].sigmoid()).softmax(dim=0)
    network.memorize(second, predicted[None, 1:], memory)
    memory.tick()
    other = blocks.soft_aggregate(network.segment(third, memory)[0].sigmoid()).softmax(dim=0)
    assert (blocks.crop(other, padding, 53, 75) - expected[2]).abs().max() > 1e-2


def test_padding_comes_before_normalisation(network, weights):
    frames, mask = clip.moving_discs(2, 53, 75)
    expected = stm.segment_clip(weights, frames, mask)[1]
    padding = blocks.padding_to_16(53, 75)
    swapped = torch.nn.functional.pad(blocks.normalise(frames), padding)
    memory = network.new_memory(keep_all())
    start = blocks.soft_aggregate(torch.nn.functional.pad(mask, padding)).softmax(dim=0)[None, 1:]
    network.memorize(network.encode(swapped[:1]), start, memory, reference=True)
    memory.tick()
    logits = network.segment(network.encode(swapped[1:]), memory)[0]
    other = blocks.crop(blocks.soft_aggregate(logits.sigmoid()).softmax(dim=0), padding, 53, 75)
    assert (other - expected).abs().max() > 1e-3


def test_float64_agrees_closely(weights):
    weights = {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    # The statistics are float32 numbers; the zoo's are float64 here.
    for key in [key for key in weights if key.endswith((".mean", ".std"))]:
        values = blocks.IMAGE_MEAN if key.endswith("mean") else blocks.IMAGE_STD
        weights[key] = torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
    with torch.device("meta"):
        network = STMNetwork(STMConfig.r50())
    network.load_state_dict(convert_state_dict(weights), strict=True, assign=True)
    frames, mask = clip.moving_discs(4, 53, 75, dtype=torch.float64)  # padded; frames 2 and 3 read predicted masks
    expected = stm.segment_clip(weights, frames, mask, keep_every=1)
    probabilities = clip.segment_with_verbs(network.eval(), frames, mask, keep_all(1))
    torch.testing.assert_close(probabilities, expected, atol=1e-9, rtol=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("Decoder.pred2.bias"), r"lacks Decoder\.pred2\.bias"),
        (lambda w: w.update({"Encoder_Q.fc.bias": torch.ones(1)}), r"unexpected Encoder_Q\.fc\.bias"),
        (lambda w: w.update({"Decoder.pred2.bias": torch.ones(1)}), r"pred2\.bias \(1,\) instead of \(2,\)"),
        (
            lambda w: w.update({"Encoder_M.mean": torch.full((1, 3, 1, 1), 0.5)}),
            r"normalises images with Encoder_M\.mean",
        ),
        (lambda w: w.update({"Encoder_M.mean": torch.ones(7)}), r"normalises images with Encoder_M\.mean"),
    ],
)
def test_a_file_that_does_not_fit_is_named(weights, change, message):
    changed = dict(weights)
    change(changed)
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict(changed)


def test_a_file_without_image_statistics_is_accepted(weights):
    learnt = {key: tensor for key, tensor in weights.items() if not key.endswith((".mean", ".std"))}
    assert convert_state_dict(learnt).keys() == convert_state_dict(weights).keys()
