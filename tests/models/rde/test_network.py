"""RDE-VOS: the shared battery, its aggregation, memory patterns and losses."""

import dataclasses

import numpy as np
import pytest
import torch

from vos_zoo import VideoSession
from vos_zoo.errors import ConfigError, MemoryBudgetError
from vos_zoo.models.rde import RDEConfig, RDEModule, RDENetwork
from vos_zoo.models.rde.aggregation import Aggregation
from vos_zoo.models.rde.losses import distribution_distance
from vos_zoo.models.rde.memory import FrameTokens, RDEMemory, RDEPolicy, stored_frames
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import HEIGHT, VIDEO, WIDTH, ModelTester, ignore, training_batch
from vos_zoo.training.unroll import object_planes


class TestRDE(ModelTester):
    name = "rde"
    paper_parameters = 64_020_836


# Memory

# What a read sees before and after the second memorised frame, by the paper's Table 5 and the released modes: the first
# (reference) frame G, the latest memorised frame L, the aggregated slot R.
COMPOSITIONS = {
    "STM-style": (("all",), "G", "GL"),
    "first": (("first",), "G", "G"),
    "latest": (("latest",), "G", "L"),
    "first x2 & latest": (("latest", "first", "first"), "G", "LGG"),
    "RDE": (("rde",), "G", "R"),
    "first & RDE": (("rde", "first"), "GG", "RG"),
    "latest & RDE": (("rde", "latest"), "G", "RL"),
    "2F & L & RDE": (("rde", "latest", "first", "first"), "GG", "RLGG"),
    "first & latest": (("latest", "first"), "G", "LG"),
    "first & latest x2": (("latest", "latest", "first"), "G", "LLG"),
    "F & L & RDE": (("rde", "latest", "first"), "GG", "RLG"),
}
FIRST, SECOND, THIRD = 1.0, 2.0, 3.0


def combine(slot, frame, *, objects):
    """Stand in for the aggregation: a number that tells which frames went in, in which order."""
    return FrameTokens(100 * slot.keys + frame.keys, 100 * slot.values + frame.values, slot.grid)


def new_memory(entries, **options):
    return RDEMemory(RDEPolicy(every=1, entries=entries, **options), combine, similarity="l2", differentiable=False)


def write(memory, number, objects=1, reference=frozenset(), positions=6):
    """Memorise a frame whose every number is ``number``, plus the plane in the values."""
    values = torch.full((1, objects, positions, 2), number) + torch.arange(objects).view(1, -1, 1, 1) / 10
    memory.tick()
    memory.write(torch.full((1, positions, 4), number), values, frozenset(reference))


def contents(memory, group=0):
    """Give the frames that a read of a group sees, by their keys."""
    tokens = memory.groups[group].bank.tokens()
    assert tokens.values.shape[:2] == tokens.keys.shape[:2]
    return tokens.keys[0, ::6, 0].tolist()


@pytest.mark.parametrize("row", COMPOSITIONS)
def test_memory_composition(row):
    entries, before, after = COMPOSITIONS[row]
    memory = new_memory(entries)
    write(memory, FIRST, reference={0})
    assert contents(memory) == [FIRST] * len(before)
    assert memory.num_frames == len(before)
    write(memory, SECOND)
    letters = {"G": FIRST, "L": SECOND, "R": 100 * FIRST + SECOND}
    assert contents(memory) == [letters[letter] for letter in after]
    assert memory.num_frames == len(after)
    if entries == ("all",):
        return
    write(memory, THIRD)
    letters = {"G": FIRST, "L": THIRD, "R": 10_000 * FIRST + 100 * SECOND + THIRD}
    assert contents(memory) == [letters[letter] for letter in after]


def test_the_growing_memory_keeps_every_frame():
    memory = new_memory(("all",))
    for number in (FIRST, SECOND, THIRD):
        write(memory, number, reference={0} if number == FIRST else ())
    assert contents(memory) == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize("row", COMPOSITIONS)
def test_the_default_reads_what_its_policy_says(row):
    entries = COMPOSITIONS[row][0]
    config = dataclasses.replace(RDEConfig.tiny(), memory_entries=entries, mem_every=4)
    policy = RDENetwork(config).default_policy()
    assert (policy.entries, policy.every) == (entries, 4)


def test_the_papers_defaults():
    config = RDEConfig()
    assert config.memory_entries == ("rde", "latest", "first", "first")
    assert (config.mem_every, config.top_k) == (3, 40)


@pytest.mark.parametrize("row", [row for row in COMPOSITIONS if row != "STM-style"])
def test_memory_is_constant_over_a_thousand_frames(row):
    entries = COMPOSITIONS[row][0]
    memory = new_memory(entries)
    write(memory, FIRST, reference={0})
    sizes = set()
    for number in range(1000):
        write(memory, number / 1000)
        memory.groups[0].bank.tokens()
        sizes.add((memory.nbytes, memory.num_frames))
    assert len(sizes) == 1
    bytes_per_frame = 4 * 6 * (4 + 1 + 2)
    constant, per_kept = stored_frames(entries)
    assert per_kept == 0
    assert memory.nbytes <= constant * bytes_per_frame


def test_a_corrected_object_gets_a_new_reference_and_its_companion_keeps_its_own():
    memory = new_memory(("rde", "latest", "first", "first"))
    write(memory, FIRST, objects=2, reference={0, 1})
    write(memory, SECOND, objects=2)
    write(memory, THIRD, objects=2, reference={1})
    assert sorted(tuple(group.planes) for group in memory.groups) == [(0,), (1,)]
    by_plane = {group.planes[0]: index for index, group in enumerate(memory.groups)}
    slot = 10_000 * FIRST + 100 * SECOND + THIRD
    assert contents(memory, by_plane[0]) == [slot, THIRD, FIRST, FIRST]
    assert contents(memory, by_plane[1]) == [slot, THIRD, THIRD, THIRD]
    tenths = [round(memory.groups[by_plane[plane]].bank.tokens().values[0, -1, 0].item() % 1, 3) for plane in (0, 1)]
    assert tenths == [0.0, 0.1]
    write(memory, THIRD, objects=2, reference={0, 1})
    assert memory.num_objects == 2


def test_an_object_that_joins_has_a_memory_of_its_own():
    memory = new_memory(("rde", "latest", "first", "first"))
    write(memory, FIRST, reference={0})
    write(memory, SECOND, objects=2, reference={1})
    assert [group.planes for group in memory.groups] == [[0], [1]]
    assert contents(memory, 0) == [102.0, SECOND, FIRST, FIRST]
    assert contents(memory, 1) == [SECOND, SECOND]


def test_removal_keeps_the_others_slots():
    memory = new_memory(("rde", "latest", "first"))
    for number in (FIRST, SECOND):
        write(memory, number, objects=3, reference={0, 1, 2} if number == FIRST else ())
    memory.remove_objects([1])
    assert [group.planes for group in memory.groups] == [[0, 1]]
    values = memory.groups[0].bank.tokens().values
    assert values.shape == (1, 18, 4)
    torch.testing.assert_close(values[0, -1], torch.tensor([1.0, 1.0, 1.2, 1.2]))
    memory.remove_objects([0, 1])
    assert memory.num_objects == 0
    assert memory.nbytes == 0


def test_a_budget_holds_the_slots_or_is_refused():
    entries = ("rde", "latest", "first", "first")
    enough = 7 * 4 * 6 * (4 + 1 + 2)
    memory = new_memory(entries, max_bytes=enough)
    for number in (FIRST, SECOND, THIRD):
        write(memory, number, reference={0} if number == FIRST else ())
        memory.groups[0].bank.tokens()
        assert memory.nbytes <= enough
    with pytest.raises(MemoryBudgetError, match="7 frames are the least"):
        write(new_memory(entries, max_bytes=enough - 1), FIRST, reference={0})
    with pytest.raises(MemoryBudgetError):
        write(memory, SECOND, objects=2, reference={1})
    assert memory.num_objects == 1


@pytest.mark.parametrize("entries", [("all",), ("all", "rde"), ("all", "latest", "first")])
def test_a_budget_bounds_the_growing_memory_beside_the_slots(entries):
    budget = 12 * 4 * 6 * (4 + 1 + 2)
    memory = new_memory(entries, max_bytes=budget)
    for number in range(30):
        write(memory, float(number), reference={0} if number == 0 else ())
        memory.groups[0].bank.tokens()
    assert 0.5 * budget < memory.nbytes <= budget


@pytest.mark.parametrize("theta", [1, 2, 3, 4, 5])
def test_every_theta_th_frame_is_memorised(theta, monkeypatch):
    network = RDENetwork(dataclasses.replace(RDEConfig.tiny(), mem_every=theta))
    memorised = []
    remember = RDENetwork.remember
    monkeypatch.setattr(
        RDENetwork, "remember", lambda *arguments, **options: (memorised.append(frame), remember(*arguments, **options))
    )
    session = VideoSession(network, size=None)
    for frame in range(8):
        session.step(VIDEO.frames[frame], VIDEO.masks[0] if frame == 0 else None)
    assert memorised == list(range(0, 8, theta))


def test_counting_starts_anew_at_an_annotated_frame(monkeypatch):
    memorised = []
    remember = RDENetwork.remember
    monkeypatch.setattr(
        RDENetwork, "remember", lambda *arguments, **options: (memorised.append(frame), remember(*arguments, **options))
    )
    session = VideoSession(RDENetwork(RDEConfig.tiny()), size=None)
    for frame in range(10):
        mask = {0: VIDEO.masks[0] == 1, 4: 2 * (VIDEO.masks[4] == 2)}.get(frame)
        session.step(VIDEO.frames[frame], None if mask is None else mask.astype(np.int32))
    assert memorised == [0, 3, 4, 7]


# Aggregation


def convolve(weight, x, bias=None, dilation=1):
    """3x3 (or 1x1) spatial correlation of (C, h, w) by shifted sums, zeros outside."""
    reach = weight.shape[-1] // 2
    height, width = x.shape[1:]
    result = torch.zeros(weight.shape[0], height, width, dtype=x.dtype)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            shifted = torch.zeros_like(x)
            top, left = dilation * row, dilation * column
            if abs(top) >= height or abs(left) >= width:
                continue
            to_rows, from_rows = slice(max(0, -top), height - max(0, top)), slice(max(0, top), height - max(0, -top))
            to_cols, from_cols = slice(max(0, -left), width - max(0, left)), slice(max(0, left), width - max(0, -left))
            shifted[:, to_rows, to_cols] = x[:, from_rows, from_cols]
            result += torch.einsum("oc,chw->ohw", weight[..., row + reach, column + reach], shifted)
    return result if bias is None else result + bias[:, None, None]


def aggregate_directly(module, slot, frame):
    """Evaluate extract, enhance and squeeze for one clip, position by position."""
    p = module.state_dict()
    frames = [slot, frame]
    height, width = slot.shape[1:]

    def point(name, x):
        return convolve(p[f"extract.{name}.weight"][:, :, 0], x, p[f"extract.{name}.bias"])

    def pooled(x):
        rows, columns = max(height // 2, 1), max(width // 2, 1)
        tall, wide = min(2, height), min(2, width)
        return [
            x[:, tall * row : tall * (row + 1), wide * column : wide * (column + 1)].amax(dim=(1, 2))
            for row in range(rows)
            for column in range(columns)
        ]

    keys = torch.stack([key for x in frames for key in pooled(point("phi", x))])
    values = torch.stack([value for x in frames for value in pooled(point("g", x))])
    enhanced = []
    for x in frames:
        affinity = torch.einsum("chw,nc->hwn", point("theta", x), keys) / len(keys)
        extracted = point("project", torch.einsum("hwn,nc->chw", affinity, values)) + x
        branches = [convolve(p["enhance.point.weight"][:, :, 0], extracted).relu()]
        for index, dilation in enumerate((2, 4, 6)):
            weight = p[f"enhance.dilated.{index}.weight"][:, :, 0]
            branches.append(convolve(weight, extracted, dilation=dilation).relu())
        enhanced.append(extracted + convolve(p["enhance.fuse.weight"][:, :, 0], torch.cat(branches)).relu())
    weight = p["squeeze.weight"]
    return convolve(weight[:, :, 0], enhanced[0], p["squeeze.bias"]) + convolve(weight[:, :, 1], enhanced[1])


@pytest.mark.parametrize("grid", [(6, 8), (5, 7), (4, 3), (2, 2), (1, 1), (1, 5), (7, 1)])
def test_aggregation_is_its_formula(grid):
    torch.manual_seed(0)
    module = Aggregation(8, (2, 4, 6)).double()
    slots, frames = torch.randn(2, 3, 8, *grid, dtype=torch.float64)
    expected = torch.stack([aggregate_directly(module, *pair) for pair in zip(slots, frames, strict=True)])
    with torch.no_grad():
        torch.testing.assert_close(module(slots, frames), expected, atol=1e-10, rtol=1e-10)


def test_aggregation_of_the_papers_size():
    with torch.device("meta"):
        aggregation = RDENetwork(RDEConfig.r50()).aggregation
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in aggregation.items()}
    # Key block 73,888 and squeeze 73,792; value block 4,719,872 and squeeze 4,719,104.
    assert counts == {"key": 73_888 + 73_792, "value": 4_719_872 + 4_719_104}


def test_aggregation_is_made_of_convolutions_of_images_and_files_keep_the_papers_shapes():
    torch.manual_seed(0)
    module, other = Aggregation(8, (2, 4, 6)), Aggregation(8, (2, 4, 6))
    assert {type(part) for part in module.modules() if isinstance(part, torch.nn.modules.conv._ConvNd)} == {
        torch.nn.Conv2d
    }
    state = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["extract.theta.weight"] == (4, 8, 1, 1, 1)
    assert shapes["enhance.dilated.2.weight"] == (2, 8, 1, 3, 3)
    assert shapes["squeeze.weight"] == (8, 8, 2, 3, 3)
    for assign in (False, True):
        other.load_state_dict(state, assign=assign)
        for mine, theirs in zip(module.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)
    assert {tensor.data_ptr() for tensor in state.values()} == {part.data_ptr() for part in module.parameters()}


def test_similarities_of_a_large_frame_do_not_overflow_in_half_precision():
    extract = Aggregation(8, (2, 4, 6)).extract.half()
    for part in (extract.theta, extract.phi, extract.g, extract.project):
        torch.nn.init.constant_(part.weight, 1 / 8)
        torch.nn.init.zeros_(part.bias)
    with torch.no_grad():
        # Sums over 2 * 40 * 50 positions of 8 * 8 are beyond 65,504, the largest number of float16; their mean is not.
        mapped = extract(torch.full((2, 8, 80, 100), 8.0, dtype=torch.float16))
    assert mapped.isfinite().all()


@torch.no_grad()
def test_objects_and_clips_are_aggregated_alone():
    torch.manual_seed(0)
    network = RDENetwork(RDEConfig.tiny()).eval()
    slot, frame = (FrameTokens(torch.randn(2, 12, 8), torch.randn(2, 12, 3 * 16), (3, 4)) for _ in range(2))
    together = network.aggregate(slot, frame, objects=3)
    for row in range(2):
        for plane in range(3):
            columns = slice(16 * plane, 16 * (plane + 1))
            alone = network.aggregate(
                *(
                    FrameTokens(part.keys[row : row + 1], part.values[row : row + 1, :, columns], part.grid)
                    for part in (slot, frame)
                ),
                objects=1,
            )
            torch.testing.assert_close(together.values[row : row + 1, :, columns], alone.values, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(together.keys[row : row + 1], alone.keys, atol=1e-5, rtol=1e-5)


# Training


def train_once(batch=None, **options):
    """Run one training step; return the loss and what was logged."""
    torch.manual_seed(0)
    module = RDEModule("tiny", **options)
    logged = {}
    module.log = lambda name, value, **_: logged.update({name: float(value.detach())})
    module.train()
    loss = module.training_step(training_batch() if batch is None else batch, 0)
    return float(loss.detach()), logged


def test_the_losses_add_up():
    loss, logged = train_once(weight_consistency=3.0, weight_guidance=7.0)
    parts = [logged[f"train/{name}"] for name in ("segmentation", "consistency", "guidance")]
    assert loss == pytest.approx(parts[0] + 3 * parts[1] + 7 * parts[2])
    assert min(parts) > 0
    assert logged["train/loss"] == pytest.approx(loss)


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({}, {"segmentation", "consistency", "guidance"}),
        ({"weight_consistency": 0.0}, {"segmentation", "guidance"}),
        ({"weight_guidance": 0.0}, {"segmentation", "consistency"}),
        ({"weight_consistency": 0.0, "weight_guidance": 0.0}, {"segmentation"}),
        ({"use_aggregation": False}, {"segmentation", "consistency"}),
    ],
)
def test_switches_of_the_losses(options, terms):
    loss, logged = train_once(**options)
    assert set(logged) == {f"train/{term}" for term in terms | {"loss"}}
    weighted = sum(
        value * (1 if name == "train/segmentation" else 10) for name, value in logged.items() if name != "train/loss"
    )
    assert loss == pytest.approx(weighted)


def segmentation_terms(**options):
    """The four frames' losses, found by weighting one of them at a time."""
    torch.manual_seed(0)
    module = RDEModule("tiny", weight_consistency=0.0, weight_guidance=0.0, **options)
    losses = []
    module._weighted = lambda terms: losses.extend(terms) or torch.stack(terms).sum()
    module.log = ignore
    module.train()
    module.training_step(training_batch(), 0)
    return [float(loss.detach()) for loss in losses]


def test_frames_weigh_half_of_their_successor():
    terms = segmentation_terms()
    assert len(terms) == 4
    loss, _ = train_once(weight_consistency=0.0, weight_guidance=0.0)
    assert loss == pytest.approx(terms[0] / 16 + terms[1] / 8 + terms[2] / 4 + terms[3] / 2)


def test_uniform_weights_are_the_papers_equation():
    loss, _ = train_once(weight_consistency=0.0, weight_guidance=0.0, frame_weights="uniform")
    assert loss == pytest.approx(sum(segmentation_terms()) / 2)


def test_without_stm_pattern_items_only_aggregated_frames_count():
    terms = segmentation_terms()
    loss, _ = train_once(weight_consistency=0.0, weight_guidance=0.0, stm_pattern_loss=False)
    assert loss == pytest.approx(terms[1] / 8 + terms[3] / 2)


def test_three_frames_weigh_as_in_static_pretraining():
    _, logged = train_once(training_batch(frames=3), use_aggregation=False)
    torch.manual_seed(0)
    module = RDEModule("tiny", use_aggregation=False)
    terms = []
    module._weighted = lambda losses: terms.extend(losses) or torch.stack(losses).sum()
    module.log = ignore
    module.train()
    module.training_step(training_batch(frames=3), 0)
    assert logged["train/segmentation"] == pytest.approx(float(terms[0].detach()) / 4 + float(terms[1].detach()) / 2)


def test_consistency_compares_perturbed_with_exact_masks():
    batch = training_batch()
    _, logged = train_once(batch)
    torch.manual_seed(0)
    network = RDEModule("tiny").network.eval()
    with torch.no_grad():
        frame = network.encode(batch["images"][:, 0])
        exact = object_planes(batch["masks"][:, 0], batch["valid_objects"])
        student, teacher = (
            network.value_encoder(frame.image, frame.stride16, masks) for masks in (batch["first_masks"], exact)
        )
        # Summed over both objects, an absent one included.
        expected = sum(distribution_distance(student[:, plane], teacher[:, plane]) for plane in range(2))
    assert logged["train/consistency"] == pytest.approx(float(expected), rel=1e-4)
    exact_batch = {**batch, "first_masks": exact}
    assert train_once(exact_batch)[1]["train/consistency"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("reduction", ["element", "position"])
def test_divergence_per_position_is_larger_by_the_channels(reduction):
    _, logged = train_once(kl_reduction=reduction)
    _, by_element = train_once()
    channels = {"consistency": 16, "guidance": 32} if reduction == "position" else {"consistency": 1, "guidance": 1}
    for name, factor in channels.items():
        assert logged[f"train/{name}"] == pytest.approx(factor * by_element[f"train/{name}"], rel=1e-4)


def test_guidance_may_compare_the_readout_alone():
    whole, readout = (
        train_once(guidance_target=target)[1]["train/guidance"] for target in ("decoder_input", "readout")
    )
    assert readout > 0
    assert readout != pytest.approx(whole)


@pytest.mark.parametrize("detach_teacher", [False, True])
def test_gradients_reach_the_teacher_unless_detached(detach_teacher):
    module = RDEModule("tiny", detach_teacher=detach_teacher)
    student, teacher = torch.randn(2, 1, 4, 3, 3, requires_grad=True)
    student.retain_grad()
    teacher.retain_grad()
    module._distance(student, teacher).backward()
    assert student.grad is not None
    assert (teacher.grad is None) is detach_teacher


def test_video_size_of_the_estimate_is_constant():
    session = VideoSession(RDENetwork(RDEConfig.tiny()), size=None)
    estimate = session.describe((HEIGHT, WIDTH), objects=3)
    assert estimate.max_memory_frames == 7
    growing = RDEPolicy(entries=("all",))
    assert VideoSession(RDENetwork(RDEConfig.tiny()), policy=growing).describe((HEIGHT, WIDTH)).memory_bytes is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [((), r"entries=\(\). Expected one or more of all, first, latest, rde"), (("last",), "entries=.*'last'")],
)
def test_unknown_memories_are_refused(entries, message):
    with pytest.raises(ConfigError, match=message):
        RDEPolicy(entries=entries)


def test_a_plain_policy_keeps_the_memory_constant():
    network = RDENetwork(RDEConfig.tiny())
    completed = network.new_memory(MemoryPolicy(every=2, max_bytes=10**9)).policy
    assert completed == RDEPolicy(every=2, max_bytes=10**9, entries=network.config.memory_entries)


def test_optimiser_states_of_older_checkpoints_fit():
    """Version 0.1 held the aggregation's weights, and so Adam's moments, as convolutions over time."""
    module = RDEModule("tiny")
    moments = {
        number: {"step": torch.tensor(3.0), "exp_avg": module.network.state_dict()[name].clone()}
        for number, (name, _) in enumerate(module.network.named_parameters())
    }
    assert any(moment["exp_avg"].ndim == 5 for moment in moments.values())
    checkpoint = {"optimizer_states": [{"state": moments}]}
    module.on_load_checkpoint(checkpoint)
    for moment, (name, parameter) in zip(moments.values(), module.network.named_parameters(), strict=True):
        assert torch.equal(moment["exp_avg"], parameter), name
