"""STM: the shared battery, and the memory that its paper describes."""

import dataclasses

import pytest
import torch

from vos_zoo import VideoSession
from vos_zoo.inference.optimize import optimize_network
from vos_zoo.models.stm import STMConfig, STMNetwork
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import VIDEO, ModelTester


class TestSTM(ModelTester):
    name = "stm"
    paper_parameters = 38_925_570
    # <q, m + b> shifts all similarities of q by <q, b>, which the softmax takes out again.
    without_effect = frozenset({"memory_projection.key.bias"})


def run(frames, policy=None):
    session = VideoSession(STMNetwork(STMConfig.tiny()), size=16, policy=policy)
    for index in range(frames):
        session.step(VIDEO.frames[index % 10], VIDEO.masks[0] if index == 0 else None)
    # The memory's clock stands at 1 on the first frame.
    return sorted(stored.frame - 1 for stored in session._memory.groups[0].bank.frames)


@pytest.mark.parametrize(
    ("frames", "kept"),
    [
        (1, [0]),
        (2, [0, 1]),
        (5, [0, 4]),
        (6, [0, 5]),
        (7, [0, 5, 6]),
        (11, [0, 5, 10]),
        (14, [0, 5, 10, 13]),
    ],
)
def test_every_fifth_and_the_previous_frame_are_kept(frames, kept):
    assert run(frames, MemoryPolicy(every=5, keep_latest=True)) == kept


def test_a_full_memory_keeps_the_reference_and_the_previous_frame():
    frames = run(58, MemoryPolicy(every=5, max_frames=6, keep_latest=True))
    assert len(frames) <= 6
    assert (frames[0], frames[-1]) == (0, 57)
    assert all(frame % 5 == 0 for frame in frames[:-1])


@torch.no_grad()
def test_the_summed_stem_is_not_folded():
    torch.manual_seed(0)
    # The stem of the tiny backbone has several convolutions; ResNet-18's is a single one, as in the paper's size.
    network = STMNetwork(dataclasses.replace(STMConfig.tiny(), backbone="resnet18")).eval()
    torch.nn.init.uniform_(network.memory_encoder.trunk.bn1.weight, 0.5, 1.5)
    image, mask = torch.rand(1, 3, 32, 32), torch.rand(1, 2, 32, 32)
    plain, optimized = (
        part.memory_projection(part.memory_encoder(image, mask)) for part in (network, optimize_network(network))
    )
    torch.testing.assert_close(optimized, plain, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_others_are_clamped():
    torch.manual_seed(0)
    encoder = STMNetwork(STMConfig.tiny()).eval().memory_encoder
    image, mask = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    full = torch.ones(1, 1, 32, 32)
    two, three = (encoder(image, torch.cat([mask] + [full] * others, dim=1))[0] for others in (1, 2))
    torch.testing.assert_close(two, three)
