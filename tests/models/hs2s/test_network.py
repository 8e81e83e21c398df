"""HS2S: the shared battery, its variants, recurrence, feedback and schedules."""

import math
from types import SimpleNamespace

import pytest
import torch

from vos_zoo.errors import ConfigError, EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.models.hs2s import HS2SConfig, HS2SModule, HS2SNetwork
from vos_zoo.models.hs2s.matching import CosineAttention, GlobalConvolution
from vos_zoo.models.hs2s.recurrence import ConvLSTM
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import ModelTester, ignore, training_batch


class TestHS2S(ModelTester):
    name = "hs2s"
    paper_parameters = 395_759_593
    small_parameters = 15_000_000

    def new_network(self):
        # Masks are fed back through the whole network, so that untrained weights amplify rounding from frame to frame.
        # Smaller logits leave the battery's tolerances their meaning.
        network = super().new_network()
        with torch.no_grad():
            network.decoder.predict.weight.mul_(0.1)
        return network

    def new_module(self, **options):
        # The battery's training tests are about frozen batch statistics, which HS2S has from a late epoch on.
        return super().new_module(freeze_bn_epoch=0, **options)


VARIANTS = {
    "default": {},
    "first": {"references": "first"},
    "previous": {"references": "previous"},
    "similarity": {"matching": "cosine"},
    "recurrent": {"references": "none", "mask_input": False, "initial_state": "first_frame"},
    "plain": {
        "references": "none",
        "mask_input": False,
        "initial_state": "first_frame",
        "skip_rnn": False,
        "border_head": False,
    },
}


def tiny(**overrides):
    torch.manual_seed(0)
    return HS2SModule("tiny", overrides, freeze_bn_epoch=0)


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        ("s2s_star", 363_248_553),
        ("hs2s_0", 376_882_153),
        ("hs2s_prev", 376_882_153),
        ("hs2s", 395_759_593),
        ("hs2s_sim", 365_350_893),
    ],
)
def test_parameters_of_the_papers_table_5(variant, count):
    with torch.device("meta"):
        network = HS2SNetwork(getattr(HS2SConfig, variant)())
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_every_variant_segments(variant):
    network = tiny(**VARIANTS[variant]).network.eval()
    memory = network.new_memory()
    masks = torch.zeros(1, 2, 64, 96)
    masks[:, 0, :, :40] = masks[:, 1, :, 60:] = 1
    network.memorize(network.encode(torch.rand(1, 3, 64, 96)), masks, memory, reference=True)
    for _ in range(3):
        features = network.encode(torch.rand(1, 3, 64, 96))
        memory.tick()
        logits = network.segment(features, memory)
        assert logits.shape == (1, 2, 64, 96)
        assert logits.isfinite().all()
        network.memorize(features, logits.sigmoid(), memory)
    assert memory.nbytes == network.memory_cost(memory.policy, (64, 96), 2).bytes_per_frame


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains(variant):
    module = tiny(**VARIANTS[variant])
    module.log = ignore
    module.train()
    module.training_step(training_batch(), 0).backward()
    assert all(parameter.grad is not None for parameter in module.network.parameters())


@pytest.mark.parametrize("freeze_bn_epoch", [0, 1])
def test_recomputing_steps_changes_no_gradient_and_no_statistics(freeze_bn_epoch):
    gradients, statistics = [], []
    for checkpoint_steps in (False, True):
        torch.manual_seed(0)
        module = HS2SModule("tiny", freeze_bn_epoch=freeze_bn_epoch)
        module.checkpoint_steps = checkpoint_steps
        module.log = ignore
        module.train()
        torch.manual_seed(0)
        module.training_step(training_batch(), 0).backward()
        gradients.append([parameter.grad for parameter in module.network.parameters()])
        statistics.append(dict(module.network.named_buffers()))
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
    assert [name for name, part in statistics[0].items() if not torch.equal(part, statistics[1][name])] == []
    moved = int(statistics[1]["encoder.bn1.num_batches_tracked"])
    assert moved == (0 if freeze_bn_epoch == 0 else training_batch()["images"].shape[1] - 1)


@pytest.mark.parametrize("options", [{"mask_input_start": 1}, {"mask_dropout": 1.0}, {}])
def test_the_encoder_may_see_no_mask_instead_of_the_previous_one(options, monkeypatch):
    module = HS2SModule("tiny", freeze_bn_epoch=0, **options)
    module.log = ignore
    sees_mask = []
    forward = module.network.encoder.forward
    monkeypatch.setattr(
        module.network.encoder,
        "forward",
        lambda stem, masks: sees_mask.append(masks is not None) or forward(stem, masks),
    )
    module.train()
    module.training_step(training_batch(), 0).backward()
    assert sees_mask
    assert not any(sees_mask) if options else all(sees_mask)
    first = next(module.network.encoder.conv1.parameters())
    gradient = first.grad
    assert gradient is not None  # several devices wait for one of every parameter
    module.on_before_optimizer_step(torch.optim.Adam([first]))
    assert (first.grad is None) == ("mask_input_start" in options)
    if "mask_input_start" in options:
        assert not gradient.any()
    else:
        assert gradient[:, :3].any()
        assert gradient[:, 3:].any() != bool(options)


def test_without_a_mask_the_encoder_sees_what_an_empty_one_shows():
    network = HS2SNetwork(HS2SConfig.tiny()).eval()
    memory = network.new_memory()
    images, masks = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)
    network.memorize(network.encode(images), masks, memory, reference=True)
    state = memory.require()
    features = network.encode(torch.rand(2, 3, 64, 96))
    empty = network.step(features, state | {"mask": torch.zeros_like(masks)})
    none = network.step(features, {name: part for name, part in state.items() if name != "mask"})
    torch.testing.assert_close(none.logits, empty.logits)
    assert not torch.allclose(network.step(features, state).logits, empty.logits)


def test_a_probability_beyond_one_is_refused():
    with pytest.raises(ConfigError, match=r"mask_dropout=1\.5"):
        HS2SModule("tiny", mask_dropout=1.5)


def test_planes_without_an_object_change_nothing():
    """Objects are separate clips: the loss of a batch is that of its objects alone."""
    batch = training_batch()
    assert not batch["valid_objects"].all()
    losses = []
    for padding in (0, 2):
        module = tiny()
        module.log = ignore
        module.train()
        torch.manual_seed(0)
        padded = dict(batch)
        for name in ("valid_objects", "first_masks"):
            planes = batch[name]
            padded[name] = torch.cat([planes, planes.new_zeros(len(planes), padding, *planes.shape[2:])], dim=1)
        losses.append(module.training_step(padded, 0))
    assert losses[0] == losses[1]


def test_jaccard_is_of_the_batch_or_of_each_object():
    logged = {}
    for jaccard in ("batch", "object"):
        torch.manual_seed(0)
        module = HS2SModule("tiny", jaccard=jaccard, freeze_bn_epoch=0)
        module.log = lambda name, value, of=jaccard, **_: logged.setdefault((of, name), value.item())
        module.train()
        module.training_step(training_batch(), 0)
    assert logged["batch", "train/cross_entropy"] == logged["object", "train/cross_entropy"]
    assert logged["batch", "train/jaccard"] != logged["object", "train/jaccard"]


def test_an_unknown_jaccard_is_refused():
    with pytest.raises(ConfigError, match="jaccard is 'frame'"):
        HS2SModule("tiny", jaccard="frame")


def test_a_batch_without_objects_trains():
    module = tiny()
    module.log = ignore
    module.train()
    batch = training_batch()
    for name in ("valid_objects", "first_masks", "masks"):
        batch[name] = torch.zeros_like(batch[name])
    assert module.training_step(batch, 0).isfinite()


def test_an_identity_stem_lets_the_backbone_see_what_it_knows():
    torch.manual_seed(0)
    module = HS2SModule("tiny", identity_stem=True).eval()
    encoder = module.network.encoder
    image = torch.randn(1, 3, 64, 64)
    stem = encoder.image_stem(image)
    expected = encoder.layer1(encoder.maxpool(encoder.act1(encoder.bn1(encoder.conv1[1:](stem)))))
    torch.testing.assert_close(encoder(stem).stride4, expected)


def test_the_recurrent_cell_is_the_formula():
    cell = ConvLSTM(1, 1, 1)
    with torch.no_grad():
        cell.conv.weight.copy_(torch.tensor([[0.5, 1.0], [0.25, -1.0], [2.0, 0.5], [-1.0, 0.75]])[..., None, None])
        cell.conv.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    x, hidden, state = 0.7, 0.3, 1.5
    i, f, o, g = (
        1 / (1 + math.exp(-(a * x + b * hidden + c)))
        for a, b, c in ((0.5, 1.0, 0.1), (0.25, -1.0, 0.2), (2.0, 0.5, 0.3), (-1.0, 0.75, 0.4))
    )
    found = cell(*(torch.full((1, 1, 1, 1), value) for value in (x, hidden, state)))
    after = f * state + i * g
    assert [part.item() for part in found] == pytest.approx([o * after, after], rel=1e-6)


def test_global_convolution_reaches_as_far_as_its_kernel():
    block = GlobalConvolution(2, 1, 3, 1)
    reference = torch.zeros(1, 2, 15, 15, requires_grad=True)
    block(reference, torch.zeros(1, 1, 15, 15))[0, 0, 7, 7].backward()
    rows, columns = reference.grad.abs().sum(dim=(0, 1)).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 10, 4, 10)


def test_cosine_attention_is_the_formula():
    block = CosineAttention(3, 2, 4, 5).double()
    reference, state = torch.randn(1, 3, 2, 3).double(), torch.randn(1, 2, 2, 3).double()
    flat_reference, flat_state = reference.flatten(2)[0], state.flatten(2)[0]

    def project(layer, features):
        return layer.weight[:, :, 0, 0] @ features + layer.bias[:, None]

    query, key = project(block.query, flat_state), project(block.key, flat_reference)
    expected = project(block.direct, flat_state)
    for position in range(6):
        cosines = torch.stack(
            [
                query[:, position] @ key[:, other] / query[:, position].norm() / key[:, other].norm()
                for other in range(6)
            ]
        )
        weights = torch.softmax(10 * cosines, dim=0)
        expected[:, position] += project(block.value, flat_reference) @ weights
    torch.testing.assert_close(block(reference, state).flatten(2)[0], expected)


@torch.no_grad()
def test_argmax_merge_gives_a_pixel_to_the_best_object_above_one_half():
    network = tiny(merge="argmax").network.eval()
    memory = network.new_memory()
    network.memorize(network.encode(torch.rand(1, 3, 64, 64)), torch.rand(1, 3, 64, 64), memory, reference=True)
    features = network.encode(torch.rand(1, 3, 64, 64))
    own = network.step(features, memory.require()).logits
    memory.tick()
    merged = network.segment(features, memory)
    winner = own.argmax(dim=1, keepdim=True)
    assert torch.equal(merged.gather(1, winner), own.gather(1, winner))
    assert ((merged > -30).sum(dim=1) == 1).all()


@pytest.mark.parametrize("correction", ["restart", "continue"])
@torch.no_grad()
def test_a_correction_touches_the_corrected_object_alone(correction):
    network = tiny(correction=correction).network.eval()
    memory = network.new_memory()
    network.memorize(network.encode(torch.rand(1, 3, 64, 64)), torch.rand(1, 2, 64, 64).round(), memory, reference=True)
    features = network.encode(torch.rand(1, 3, 64, 64))
    memory.tick()
    prediction = network.predict(features, memory)
    before = dict(memory.state)
    corrected = torch.zeros(1, 2, 64, 64)
    corrected[:, 1, 20:40, 20:40] = 1
    network.memorize(features, corrected, memory, reference=[1], prediction=prediction)
    assert torch.equal(memory.state["hidden"][:, 0], prediction.state["hidden"][:, 0])
    assert torch.equal(memory.state["first"][:, 0], before["first"][:, 0])
    restarts = correction == "restart"
    assert torch.equal(memory.state["hidden"][:, 1], prediction.state["hidden"][:, 1]) is not restarts
    assert torch.equal(memory.state["first"][:, 1], before["first"][:, 1]) is not restarts
    assert torch.equal(memory.state["mask"][:, 1], corrected[:, 1])
    # The other object gives up the pixels that the user gave to this one.
    assert (memory.state["mask"][:, 0, 20:40, 20:40] == 0).all()
    assert (memory.state["mask"][:, 0, :20] > 0).all()


@torch.no_grad()
def test_an_object_that_left_and_ten_black_frames_give_finite_masks():
    network = tiny().network.eval()
    memory = network.new_memory()
    network.memorize(network.encode(torch.rand(1, 3, 32, 32)), torch.zeros(1, 1, 32, 32), memory, reference=True)
    for _ in range(10):
        features = network.encode(torch.zeros(1, 3, 32, 32))
        memory.tick()
        logits = network.segment(features, memory)
        assert logits.isfinite().all()
        network.memorize(features, logits.sigmoid(), memory)
    assert all(part.isfinite().all() for part in memory.state.values())


@torch.no_grad()
def test_misuse_is_named():
    network = tiny().network.eval()
    features = network.encode(torch.rand(1, 3, 32, 32))
    with pytest.raises(EmptyMemoryError):
        network.segment(features, network.new_memory())
    memory = network.new_memory()
    with pytest.raises(ShapeError, match=r"\[0\] are new"):
        network.memorize(features, torch.rand(1, 1, 32, 32), memory)
    network.memorize(features, torch.rand(1, 2, 32, 32), memory, reference=True)
    with pytest.raises(ShapeError, match="the memory knows 2"):
        network.memorize(features, torch.rand(1, 1, 32, 32), memory)
    with pytest.raises(MemoryBudgetError, match="budget"):
        network.memorize(
            features, torch.rand(1, 2, 32, 32), network.new_memory(MemoryPolicy(max_bytes=1000)), reference=True
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"state_width": 0},
        {"skip_kernel": 4},
        {"decoder_dims": (8, 8, 8, 8, 0)},
        {"references": "none", "mask_input": False},
    ],
)
def test_contradicting_configurations_are_refused(wrong):
    with pytest.raises(ConfigError):
        HS2SConfig(**wrong)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1.0), (300, 1.0), (301, 0.996), (425, 0.5), (700, 0.5)])
def test_true_masks_become_rarer(epoch, expected):
    assert tiny().true_mask_probability(epoch) == pytest.approx(expected)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 5), (9, 5), (10, 6), (49, 9), (50, 10), (500, 10)])
def test_clips_become_longer(epoch, expected):
    assert tiny().longest_clip(epoch, 10) == expected


@pytest.mark.parametrize(("epoch", "factor"), [(650, 1), (655, 1), (656, 0.9), (660, 0.9), (661, 0.81), (749, 0.9**19)])
def test_the_rate_falls_after_every_five_epochs_from_651_on(epoch, factor, monkeypatch):
    monkeypatch.setattr(HS2SModule, "current_epoch", epoch)
    assert tiny().learning_rate_factor(0) == pytest.approx(factor)


@pytest.mark.parametrize(("epoch", "learns"), [(500, True), (501, False)])
def test_batch_statistics_are_kept_after_epoch_500(epoch, learns, monkeypatch):
    monkeypatch.setattr(HS2SModule, "current_epoch", epoch)
    assert HS2SModule("tiny").train().network.encoder.bn1.training is learns


def frames_seen(module, batch):
    """Which frames of a batch a training step looks at."""
    seen = []
    encode = module.network.encode
    module.network.encode = lambda images: seen.append(images) or encode(images)
    module.log = ignore
    module.train()
    module.training_step(batch, 0)
    whole = batch["images"][0]
    first = seen[0].unflatten(0, (len(batch["images"]), -1))[0]
    return [next(i for i, image in enumerate(whole) if torch.equal(image, frame)) for frame in first]


def test_a_step_takes_consecutive_frames_from_any_start():
    module = HS2SModule("tiny", shortest_clip=2, freeze_bn_epoch=0)
    batch = training_batch(frames=5)
    batch["valid_objects"][:], batch["masks"][:, :, :9] = True, torch.tensor([1, 2, 0] * 3)[:, None]
    found = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found.add(tuple(frames_seen(module, batch)))
    assert found == {(0, 1, 2), (1, 2, 3), (2, 3, 4)}
    batch["masks"][:, 1:] = 0  # objects would not be seen in the first frame
    torch.manual_seed(1)
    assert frames_seen(module, batch) == [0, 1, 2]


def test_devices_agree_on_the_frames_that_all_have(monkeypatch):
    module = HS2SModule("tiny", freeze_bn_epoch=0)
    module._trainer = SimpleNamespace(world_size=2, global_step=0, current_epoch=0)
    monkeypatch.setattr(HS2SModule, "all_gather", lambda self, frames: torch.stack([frames, torch.tensor(3)]))
    batch = training_batch(frames=5)
    assert len(frames_seen(module, batch)) == 3


def test_imagenet_weights_leave_the_added_parts_alone():
    encoder = HS2SNetwork(HS2SConfig(backbone="resnet18", state_width=8, matching_width=2)).encoder
    state = {key: torch.full_like(part, 0.5) for key, part in encoder.state_dict().items() if part.ndim}
    state = {key: part for key, part in state.items() if not key.startswith(("extra_", "reduce_"))}
    state["conv1.weight"] = state["conv1.weight"][:, :3]
    before = {key: part.clone() for key, part in encoder.state_dict().items()}
    encoder.load_imagenet(state)
    after = encoder.state_dict()
    assert (after["conv1.weight"][:, :3] == 0.5).all()
    assert torch.equal(after["conv1.weight"][:, 3:], before["conv1.weight"][:, 3:])
    assert torch.equal(after["extra_conv.weight"], before["extra_conv.weight"])
    assert (after["layer4.0.conv1.weight"] == 0.5).all()
