"""DMN-AOA: the shared battery, its switches, sizes and proposals."""

import pytest
import torch

from testing.dmn_aoa import band, tiny
from vos_zoo.models.dmn_aoa import DMNAOAConfig, DMNAOANetwork
from vos_zoo.models.dmn_aoa.proposals import Proposals
from vos_zoo.testing import VIDEO, ModelTester, ignore, probabilities, training_batch


class TestDMNAOA(ModelTester):
    name = "dmn_aoa"
    paper_parameters = 27_821_506
    # <q, k + b> shifts all similarities of q by <q, b>, which the softmax takes out again.
    without_effect = frozenset({"memory_encoder.key.bias"})

    def test_bf16_is_close_to_fp32(self, network):
        exact, half = probabilities(network), probabilities(network, precision="bf16")
        # Alignment multiplies cosines by 100. Features rounded to bfloat16 move a cosine by about 2^-9, hence a weight
        # by a fifth, ten times more than the battery's bound has in mind.
        assert (exact - half).abs().max() < 0.2
        assert (exact - half).abs().mean() < 0.01
        assert not torch.equal(exact, half)

    def new_module(self, **options):
        # The battery's training tests move scale and shift of every normalisation; the paper freezes those too.
        return super().new_module(freeze_bn_affine=False, **options)


SWITCHES = {
    "F0": {},
    "A1": {"template": "first", "align": False},
    "A2": {"align": False},
    "A3": {"template": "first"},
    "A4": {"memory_source": "frame"},
    "A5": {"matcher": False},
    "A6": {"refine": False},
    "B1": {"memory": "first"},
    "B2": {"memory": "previous"},
    "B3": {"memory": "first+previous"},
    "B4": {"memory": "all"},
    "flatten": {"match_reduce": "flatten", "center": True},
    "top1": {"selection": "top1", "null_columns": 1, "average": "post", "early_stop": True},
    "still": {"align_reference": False, "iou_weight": 0.0},
}


@pytest.mark.parametrize(("variant", "count"), [("r50", 27_821_506), ("r101", 46_813_634)])
def test_parameters_of_the_papers_sizes(variant, count):
    with torch.device("meta"):
        network = DMNAOANetwork(getattr(DMNAOAConfig, variant)())
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(
    ("part", "count"),
    [
        ("base.bottlenecks", 361_984),
        ("memory_encoder.key", 591_104),
        ("memory_encoder.value", 2_364_416),
        ("query_encoder", 589_952),
        ("alignment.template_projector", 1_770_496),
        ("refinement.reference_projector", 1_180_672),
        ("refinement.blocks.2", 2_958_336),
        ("refinement.blocks.1", 3_254_784),
        ("refinement.predict", 514),
    ],
)
def test_parameters_of_the_parts(part, count):
    with torch.device("meta"):
        network = DMNAOANetwork(DMNAOAConfig.r50())
    assert sum(parameter.numel() for parameter in network.get_submodule(part).parameters()) == count


@pytest.mark.parametrize("row", SWITCHES)
@torch.no_grad()
def test_every_switch_segments(row):
    network = tiny(**SWITCHES[row]).network.eval()
    memory = network.new_memory()
    network.memorize(network.encode(torch.rand(1, 3, 48, 64)), band(), memory, reference=True)
    for _ in range(3):
        features = network.encode(torch.rand(1, 3, 48, 64))
        memory.tick()
        logits = network.segment(features, memory)
        assert logits.shape == (1, 2, 48, 64)
        assert logits.isfinite().all()
        network.memorize(features, band(), memory)


@pytest.mark.parametrize("row", SWITCHES)
def test_every_switch_trains(row):
    module = tiny(**SWITCHES[row])
    module.log = ignore
    module.train()
    loss = module.training_step(training_batch(frames=3), 0)
    loss.backward()
    assert loss.isfinite()
    gradients = [part.grad for part in module.network.parameters() if part.requires_grad]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@torch.no_grad()
def test_without_proposals_the_previous_mask_is_refined():
    network = tiny().network.eval()
    memory = network.new_memory(network.full_policy(source=lambda request: Proposals.none(request.size, request.image)))
    network.memorize(network.encode(torch.rand(1, 3, 32, 48)), band(2, (32, 48)), memory, reference=True)
    features = network.encode(torch.rand(1, 3, 32, 48))
    memory.tick()
    assert torch.equal(network.coarse_masks(features, memory), band(2, (32, 48)))


@torch.no_grad()
def test_a_perfect_proposal_becomes_the_coarse_mask():
    network = tiny(selection="top1").network.eval()
    target = band(2, (32, 64))[0]
    source = lambda request: Proposals(  # noqa: E731
        torch.tensor([[34.0, 8, 54, 32], [4, 8, 24, 32]]), torch.tensor([0.9, 0.8]), target.flip(0)
    )
    memory = network.new_memory(network.full_policy(source=source))
    features = network.encode(torch.rand(1, 3, 32, 64))
    network.memorize(features, target[None], memory, reference=True)
    memory.tick()
    coarse = network.coarse_masks(features, memory)
    assert ((coarse > 0.5) == (target[None] > 0.5)).all()


def test_a_session_takes_proposals():
    asked = []

    def source(request):
        asked.append(request.index)
        return Proposals.none(request.size, request.image)

    session = tiny().session(side_inputs={"proposals": source}, size=None)
    for index, frame in enumerate(VIDEO.frames[:5]):
        session.step(frame, VIDEO.masks[1] if index == 1 else None)
    assert asked == [1, 2, 3]


def test_what_is_compared_is_projected_alike_at_first():
    network = tiny().network
    pairs = [
        (network.alignment.template_projector, network.alignment.proposal_projector),
        (network.refinement.current_projector, network.refinement.reference_projector),
    ]
    for first, second in pairs:
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(one, other)
            assert one is not other
