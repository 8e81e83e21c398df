"""STCN: the shared battery, and the memory that its paper describes."""

import dataclasses
import itertools

import pytest
import torch

from vos_zoo import VideoSession
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import VIDEO, ModelTester


class TestSTCN(ModelTester):
    name = "stcn"
    paper_parameters = 54_434_180
    # Query and memory keys move by the same bias, so that their distances stay.
    without_effect = frozenset({"key_projection.bias"})


def kept_frames(session):
    # The memory's clock stands at 1 on the first frame.
    return [stored.frame - 1 for stored in session._memory.groups[0].bank.frames]


def run(frames, policy=None, **changes):
    session = VideoSession(STCNNetwork(dataclasses.replace(STCNConfig.tiny(), **changes)), size=16, policy=policy)
    for index in range(frames):
        session.step(VIDEO.frames[index % 10], VIDEO.masks[0] if index == 0 else None)
    return session


@pytest.mark.parametrize("every", [1, 3, 5])
def test_every_nth_frame_is_kept(every):
    session = run(17, MemoryPolicy(every=every))
    assert kept_frames(session) == list(range(0, 17, every))


def test_a_full_memory_keeps_the_reference_the_latest_and_thins_the_rest():
    session = run(61, MemoryPolicy(every=2, max_frames=6))
    frames = sorted(kept_frames(session))
    assert len(frames) == session.memory_frames == 6
    assert (frames[0], frames[-1]) == (0, 60)
    gaps = [after - before for before, after in itertools.pairwise(frames)]
    assert max(gaps) <= 4 * min(gaps)


def test_attention_in_the_fusion_block_is_a_switch():
    assert STCNNetwork(STCNConfig.tiny()).value_encoder.fusion.attention is not None
    assert STCNNetwork(dataclasses.replace(STCNConfig.tiny(), cbam=False)).value_encoder.fusion.attention is None


def softmax_read(query, keys, values, similarity):
    """Equations 1 to 4 of the paper in float64, for one query position at a time."""
    read = []
    for column in query.double().T:
        scores = -((keys.double() - column) ** 2).sum(dim=1) if similarity == "l2" else keys.double() @ column
        weights = (scores / len(column) ** 0.5).exp()
        read.append((weights / weights.sum()) @ values.double())
    return torch.stack(read, dim=1)


@pytest.mark.parametrize("similarity", ["l2", "dot"])
def test_the_similarity_is_the_papers(similarity):
    torch.manual_seed(0)
    network = STCNNetwork(dataclasses.replace(STCNConfig.tiny(), similarity=similarity, top_k=None)).eval()
    network.key_projection.weight.data *= 4  # longer keys set the two similarities apart
    frames, masks = torch.rand(3, 1, 3, 48, 64), torch.rand(2, 1, 1, 48, 64)
    memory = network.new_memory(MemoryPolicy(every=1))
    stored = []
    with torch.no_grad():
        for frame, mask in zip(frames, masks, strict=False):
            features = network.encode(frame)
            memory.tick()
            network.memorize(features, mask, memory, reference=not stored)
            stored.append(features.key[0].flatten(1).T)
        query = network.encode(frames[2])
        readout = network.read(query, memory)[0, 0].flatten(1)
    values = memory.groups[0].bank.tokens().values[0]
    values = values[0] if values.ndim == 3 else values
    keys = torch.cat(stored)
    expected = {kind: softmax_read(query.key[0].flatten(1), keys, values, kind) for kind in ("l2", "dot")}
    torch.testing.assert_close(readout.double(), expected[similarity], rtol=1e-4, atol=1e-5)
    other = expected["dot" if similarity == "l2" else "l2"]
    assert (readout - other).abs().max() > 100 * (readout - expected[similarity]).abs().max()


def test_an_inference_read_uses_top_k_and_training_all_positions():
    torch.manual_seed(0)
    network = STCNNetwork(dataclasses.replace(STCNConfig.tiny(), top_k=1)).eval()
    first, second = torch.rand(2, 1, 3, 48, 64)
    masks = torch.rand(1, 1, 48, 64)
    readouts = []
    for is_training in (False, True):
        with torch.set_grad_enabled(is_training):
            memory = network.new_memory()
            network.memorize(network.encode(first), masks, memory, reference=True)
            readouts.append(network.read(network.encode(second), memory))
            stored = memory.groups[0].bank.tokens().values
    best = readouts[0][0, 0].flatten(1).T
    # Each query reads exactly one stored position.
    assert torch.cdist(best, stored[0].detach()).amin(1).max() < 1e-4
    assert not torch.allclose(*readouts)
    assert readouts[1].requires_grad
