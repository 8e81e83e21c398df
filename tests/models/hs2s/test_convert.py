"""Converted HS2S weights compute what the restated network computes on the authors' keys."""

import math

import pytest
import torch

from testing.original import blocks, clip, hs2s
from vos_zoo.errors import CheckpointError
from vos_zoo.models.hs2s import HS2SConfig, HS2SNetwork
from vos_zoo.models.hs2s.convert import convert_state_dict

# The released network, narrower beyond its backbones; the key scheme and every operation are the same.
NARROW = {"state": 32, "inner": 8, "widths": (32, 16, 16, 8, 8), "skip_kernel": 5, "classes": 42}
CONFIG = HS2SConfig(state_width=32, matching_width=8, decoder_dims=(32, 16, 16, 8, 8))


@pytest.fixture(scope="module")
def weights():
    return hs2s.random_state_dict(0, **NARROW)


@pytest.fixture(scope="module")
def network(weights):
    return build(convert_state_dict(weights, config=CONFIG), CONFIG)


@pytest.fixture(scope="module")
def scene():
    """Normalised frames (5,3,64,96), masks (2,64,96)."""
    frames, masks = clip.moving_discs(5, 64, 96, dtype=torch.float64)
    return blocks.normalise(frames), masks


@pytest.fixture(autouse=True)
def _no_graph():
    with torch.inference_mode():
        yield


def build(state, config):
    with torch.device("meta"):
        network = HS2SNetwork(config)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def test_the_released_file_has_these_entries():
    sizes = {key: math.prod(shape) for key, shape in hs2s.shapes().items()}
    assert len(sizes) == hs2s.ENTRIES
    assert sum(size for key, size in sizes.items() if not hs2s.is_buffer(key)) == hs2s.PARAMETERS
    assert sum(size for key, size in sizes.items() if hs2s.is_buffer(key)) == hs2s.BUFFERS


def test_the_released_file_fits_the_papers_network():
    with torch.device("meta"):
        original = {key: torch.empty(shape) for key, shape in hs2s.shapes().items()}
        network = HS2SNetwork(HS2SConfig.r50())
    converted = convert_state_dict(original)
    own = network.state_dict()
    assert {key: tensor.shape for key, tensor in converted.items()} == {key: part.shape for key, part in own.items()}


@pytest.mark.parametrize("objects", [1, 2])
def test_free_running_clips_match(network, weights, scene, objects):
    frames, masks = scene
    memory = network.new_memory()
    network.memorize(network.encode(frames[:1]), masks[None, :objects], memory, reference=True)
    logits, borders = [], []
    for frame in frames[1:]:
        features = network.encode(frame[None])
        borders.append(network.step(features, memory.require()).borders[0])
        memory.tick()
        logits.append(network.segment(features, memory)[0])
        # Objects are fed back as the network sees each of them, not as they are aggregated.
        network.memorize(features, torch.zeros(1, objects, 64, 96, dtype=torch.float64), memory)
    for index in range(objects):
        expected, expected_borders = hs2s.segment_clip(weights, frames, masks[index])
        assert expected.std() > 0.3
        assert (expected[0] - expected[-1]).std() > 0.1
        # Random weights amplify rounding by about 30 per frame; float64 leaves room for more than these four.
        torch.testing.assert_close(torch.stack(logits)[:, index], expected, atol=1e-6, rtol=0.0)
        torch.testing.assert_close(torch.stack(borders)[:, index], expected_borders, atol=1e-6, rtol=0.0)


def test_the_masks_matter(weights, scene):
    frames, masks = scene
    first, other = (hs2s.segment_clip(weights, frames[:3], mask)[0] for mask in (masks[0], masks[1]))
    assert (first - other).std() > 0.1


@pytest.mark.slow
def test_the_papers_size_matches():
    weights = hs2s.random_state_dict(1)
    network = build(convert_state_dict(weights), HS2SConfig.r50())
    frames, masks = clip.moving_discs(4, 32, 64, dtype=torch.float64)
    frames = blocks.normalise(frames)
    memory = network.new_memory()
    network.memorize(network.encode(frames[:1]), masks[None, :1], memory, reference=True)
    expected, _ = hs2s.segment_clip(weights, frames, masks[0])
    for time, frame in enumerate(frames[1:]):
        features = network.encode(frame[None])
        memory.tick()
        logits = network.segment(features, memory)
        network.memorize(features, logits.sigmoid(), memory)
        torch.testing.assert_close(logits[0, 0], expected[time], atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("memory.conv.bias"), "lacks memory.conv.bias"),
        (lambda w: w.update({"extra.weight": torch.ones(1)}), "unexpected extra.weight"),
        (lambda w: w.update({"decoder.mm.bias": torch.ones(3)}), r"decoder.mm.bias \(3,\) instead of \(16,\)"),
        (
            lambda w: w.pop("encoder.mask_conv.weight"),
            r"encoder.conv1.weight \(64, 3, 7, 7\) instead of \(64, 4, 7, 7\)",
        ),
        (lambda w: w.pop("encoder_ref.conv1.weight"), "lacks encoder_ref.conv1.weight"),
        (lambda w: (w.clear(), w.update({"Encoder_M.bn1.bias": torch.ones(64)})), "--from stm"),
    ],
)
def test_a_file_that_does_not_fit_is_named(weights, change, message):
    changed = dict(weights)
    change(changed)
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict(changed, config=CONFIG)
