"""DMN-AOA: the shared battery, its switches, memory policies and sessions with other proposals."""

import pytest
import torch

from vos_zoo.errors import ConfigError, EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.models.dmn_aoa import DMNAOAConfig, DMNAOAModule, DMNAOANetwork
from vos_zoo.models.dmn_aoa.memory import DMNPolicy
from vos_zoo.models.dmn_aoa.proposals import Proposals
from vos_zoo.network import MemoryPolicy
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


def tiny(**overrides):
    torch.manual_seed(0)
    return DMNAOAModule("tiny", overrides)


def band(objects=2, size=(48, 64)):
    masks = torch.zeros(1, objects, *size)
    for plane in range(objects):
        masks[:, plane, 8:40, 4 + 30 * plane : 24 + 30 * plane] = 1
    return masks


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


@pytest.mark.parametrize(
    ("keeps", "expected"),
    [
        ("first", {0}),
        ("previous", {7}),
        ("first+previous", {0, 7}),
        ("every", {0, 3, 6, 7}),
        ("all", {0, 1, 2, 3, 4, 5, 6, 7}),
    ],
)
@torch.no_grad()
def test_memory_keeps_what_the_policy_says(keeps, expected):
    network = tiny().network.eval()
    memory = network.new_memory(DMNPolicy(every=3, keeps=keeps))
    for time in range(8):
        features = network.encode(torch.rand(1, 3, 32, 32))
        if time:
            memory.tick()
            network.segment(features, memory)
        network.memorize(features, band(1, (32, 32)), memory, reference=time == 0)
    assert {stored.frame for stored in memory.banks[0][0].frames} == expected


@torch.no_grad()
def test_frames_without_the_object_are_not_remembered():
    network = tiny().network.eval()
    memory = network.new_memory(DMNPolicy(keeps="all"))
    masks = [band(1, (32, 32)), torch.zeros(1, 1, 32, 32), band(1, (32, 32)).flip(2)]
    boxes = []
    for time, mask in enumerate(masks):
        features = network.encode(torch.rand(1, 3, 32, 32))
        if time:
            memory.tick()
            assert network.segment(features, memory).isfinite().all()
        network.memorize(features, mask, memory, reference=time == 0)
        boxes.append(memory.objects["box"].clone())
    assert [stored.frame for stored in memory.banks[0][0].frames] == [0, 2]
    assert torch.equal(boxes[0], boxes[1])


def test_an_object_gone_for_good_leaves_no_ghost(monkeypatch):
    session = tiny().session(size=None)
    session.step(VIDEO.frames[0], VIDEO.masks[0])
    finish = DMNAOANetwork.finish
    monkeypatch.setattr(DMNAOANetwork, "finish", lambda *arguments: finish(*arguments) - 100)
    memory = session._memory
    kept, boxes = memory.nbytes, memory.objects["box"].clone()
    for index in range(1, 14):
        result = session.step(VIDEO.frames[index % 10])
        assert result.probabilities.isfinite().all()
        assert not result.mask.any()
    # What was seen last stays, for when the object comes back; what was not seen adds nothing.
    assert torch.equal(memory.objects["box"], boxes)
    assert memory.nbytes <= kept + sum(part.numel() * 4 for part in memory.previous)


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


def test_late_objects_refer_to_their_own_first_frame():
    session = tiny().session(size=None)
    session.step(VIDEO.frames[0], (VIDEO.masks[0] == 1).astype("int32"))
    session.step(VIDEO.frames[1])
    session.step(VIDEO.frames[2], 2 * (VIDEO.masks[2] == 2).astype("int32"))
    memory = session._memory
    early, late = (plane.reference for plane in memory.planes)
    assert late - early == 2
    assert set(memory.references) == {early, late}
    session.remove(1)
    assert set(memory.references) == {late}
    assert session.step(VIDEO.frames[3]).object_ids == (2,)


@torch.no_grad()
def test_misuse_is_named():
    network = tiny().network.eval()
    features = network.encode(torch.rand(1, 3, 32, 32))
    with pytest.raises(EmptyMemoryError):
        network.segment(features, network.new_memory())
    memory = network.new_memory()
    with pytest.raises(ShapeError, match=r"\[0, 1\] are new"):
        network.memorize(features, band(2, (32, 32)), memory)
    network.memorize(features, band(2, (32, 32)), memory, reference=True)
    with pytest.raises(ShapeError, match="the memory knows 2"):
        network.memorize(features, band(1, (32, 32)), memory)
    with pytest.raises(MemoryBudgetError, match="budget"):
        network.memorize(features, band(2, (32, 32)), network.new_memory(MemoryPolicy(max_bytes=1000)), reference=True)


@pytest.mark.parametrize("wrong", [{"groups": 7}, {"widths": (32, 32, 33)}, {"roi_size": 0}, {"box_expand": 0.0}])
def test_contradicting_configurations_are_refused(wrong):
    with pytest.raises(ConfigError):
        DMNAOAConfig(**wrong)


def test_a_configuration_sets_the_native_size():
    assert tiny(working_size=64).session().describe((640, 960)).working_size == (64, 96)


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


def test_the_backbone_learns_more_slowly_and_keeps_its_normalisation():
    module = tiny()
    module.learning_rate = 1e-4
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-5])
    trunk = module.network.base.trunk
    assert not trunk.bn1.weight.requires_grad
    module.train()
    assert not trunk.bn1.training
