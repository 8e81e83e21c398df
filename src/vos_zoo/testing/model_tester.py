"""What every model of the zoo has to do, whatever the paper: one battery, subclassed once per model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from vos_zoo.data.modules.synthetic import SyntheticDataModule
from vos_zoo.errors import OutOfMemoryError
from vos_zoo.inference.cuda_graphs import Graphs
from vos_zoo.inference.session import VideoSession
from vos_zoo.models.load import load_model
from vos_zoo.registry import describe_network, find_architecture
from vos_zoo.segmentation.frames import segment_frames
from vos_zoo.testing.clips import HEIGHT, VIDEO, WIDTH, planes, relabel, training_batch
from vos_zoo.testing.little_memory import LittleMemory
from vos_zoo.testing.replayed_calls import ReplayedCalls
from vos_zoo.testing.session_tester import SessionTester
from vos_zoo.weights import save_checkpoint_folder

if TYPE_CHECKING:
    from pathlib import Path


class ModelTester(SessionTester):
    """Subclass it, name the model and its parameter counts, and add what is particular to the paper.

    The architecture has to be known to the registry and to have a variant ``tiny`` that runs on a CPU in moments.

    Example:
        A test file of its own, run by pytest::

            from vos_zoo.testing import ModelTester


            class TestToy(ModelTester):
                name = "toy"
                paper_parameters = 120_345
    """

    #: registry name
    name: ClassVar[str]
    #: learnable numbers of the paper's size, the architecture's first variant
    paper_parameters: ClassVar[int]
    #: most learnable numbers of the size ``small``, if there is one
    small_parameters: ClassVar[int] = 10_000_000
    #: most learnable numbers of the size ``tiny``
    tiny_parameters: ClassVar[int] = 1_000_000
    #: parameters that the loss cannot depend on, because they shift the similarities of a query by the same amount
    without_effect: ClassVar[frozenset[str]] = frozenset()
    #: whether the network normalises batches, and training has to leave their statistics alone
    has_batch_norm: ClassVar[bool] = True

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run tests of a ``variant`` once for each of the architecture's sizes."""
        if "variant" in metafunc.fixturenames:
            metafunc.parametrize("variant", [variant.name for variant in find_architecture(self.name).variants])

    @pytest.fixture
    def network(self) -> Any:
        return self.new_network()

    def new_network(self) -> Any:
        """Build the tiny network with weights that are the same for every test."""
        return self.new_module().network.eval()

    def new_module(self, **options: Any) -> Any:
        """Build the tiny LightningModule, as it comes from its constructor."""
        torch.manual_seed(0)
        module = find_architecture(self.name).load_class("module")("tiny", **options)
        for part in module.network.modules():
            if isinstance(part, _BatchNorm):  # timm starts with zeros, which shut the residual branches
                torch.nn.init.uniform_(part.weight, 0.5, 1.5)
                if part.running_mean is not None and part.running_var is not None:
                    torch.nn.init.uniform_(part.running_mean, -0.1, 0.1)
                    torch.nn.init.uniform_(part.running_var, 0.5, 1.5)
        return module

    # Sizes

    def test_parameter_count(self, variant: str) -> None:
        architecture = find_architecture(self.name)
        with torch.device("meta"):  # shapes without numbers
            network = architecture.load_class("network")(architecture.new_config(variant))
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count > 0
        if variant == architecture.variants[0].name:
            assert count == self.paper_parameters
        most = {"small": self.small_parameters, "tiny": self.tiny_parameters}
        assert count <= most.get(variant, count)

    # The registry

    def test_the_network_is_found_by_its_class(self, network: Any) -> None:
        assert describe_network(network)["architecture"] == self.name

    # The four verbs

    @pytest.mark.parametrize("objects", [1, 3])
    @pytest.mark.parametrize("size", [(16, 16), (48, 64), (80, 32)])
    @torch.no_grad()
    def test_one_logit_plane_per_object_at_the_frames_size(
        self, network: Any, objects: int, size: tuple[int, int]
    ) -> None:
        first, second = torch.rand(2, 2, 3, *size)
        memory = network.new_memory()
        network.memorize(network.encode(first), planes(2, objects, size), memory, reference=True)
        memory.tick()
        logits = network.segment(network.encode(second), memory)
        assert logits.shape == (2, objects, *size)
        assert logits.isfinite().all()
        assert memory.num_objects == objects
        assert memory.num_frames >= 1
        assert memory.nbytes > 0

    @torch.no_grad()
    def test_clips_of_a_batch_do_not_see_each_other(self, network: Any) -> None:
        frames = torch.rand(3, 2, 3, 48, 32)
        masks = planes(2, 2, (48, 32))
        together = unroll(network, frames, masks)
        apart = torch.cat([unroll(network, frames[:, row : row + 1], masks[row : row + 1]) for row in range(2)])
        # A convolution of another batch size may sum in another order; logits are of order one.
        torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_an_empty_second_object_changes_nothing(self, network: Any) -> None:
        first, second = torch.rand(2, 1, 3, 48, 64)
        mask = planes(1, 1, (48, 64))
        logits = []
        for masks in (mask, torch.cat([mask, torch.zeros_like(mask)], dim=1)):
            memory = network.new_memory()
            network.memorize(network.encode(first), masks, memory, reference=True)
            memory.tick()
            logits.append(network.segment(network.encode(second), memory)[:, :1])
        torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_a_frame_may_be_segmented_as_often_as_one_likes(self, network: Any) -> None:
        frames, masks = torch.rand(4, 2, 3, 48, 64), planes(2, 2, (48, 64))
        first, *others = (network.encode(frame) for frame in frames)
        runs: list[list[torch.Tensor]] = []
        for repeats in (1, 2):
            memory = network.new_memory()
            network.memorize(first, masks, memory, reference=True)
            runs.append([])
            for features in others:
                memory.tick()
                if repeats > 1:
                    network.segment(others[-1], memory)  # another frame
                logits = [network.segment(features, memory) for _ in range(repeats)]
                assert all(torch.equal(logits[0], again) for again in logits)
                network.memorize(features, torch.sigmoid(logits[0]), memory)
                runs[-1].append(logits[0])
        assert all(torch.equal(once, often) for once, often in zip(*runs, strict=True))

    @torch.no_grad()
    def test_segmenting_moves_neither_the_clock_nor_the_memory(self, network: Any) -> None:
        frames, masks = torch.rand(4, 1, 3, 48, 64), planes(1, 2, (48, 64))
        first, *others = (network.encode(frame) for frame in frames)
        memory = network.new_memory()
        network.memorize(first, masks, memory, reference=True)
        for features in others:
            memory.tick()
            before = contents(memory)
            logits = network.segment(features, memory)
            after = contents(memory)
            assert before["clock"] == after["clock"] > 0
            # A cache of what the memory holds may be filled, such as its frames as one tensor.
            held = {path: value for path, value in before.items() if value is not None}
            assert {path for path, value in held.items() if not same(value, after.get(path))} == set()
            network.segment(features, memory)
            again = contents(memory)
            assert {path for path in after | again if not same(after.get(path), again.get(path))} == set()
            network.memorize(features, torch.sigmoid(logits), memory)

    @torch.no_grad()
    def test_a_prediction_saves_work_and_changes_nothing(self, network: Any) -> None:
        frames, masks = torch.rand(4, 1, 3, 48, 64), planes(1, 2, (48, 64))
        first, *others = (network.encode(frame) for frame in frames)
        runs: list[list[torch.Tensor]] = []
        for hands_on in (True, False):
            memory = network.new_memory()
            network.memorize(first, masks, memory, reference=True)
            runs.append([])
            for index, features in enumerate(others):
                memory.tick()
                prediction = network.predict(features, memory)
                assert torch.equal(prediction.logits, network.segment(features, memory))
                runs[-1].append(prediction.logits)
                annotated = [1] if index == 1 else False
                probabilities = torch.sigmoid(prediction.logits)
                if hands_on:
                    network.memorize(features, probabilities, memory, reference=annotated, prediction=prediction)
                else:
                    network.memorize(features, probabilities, memory, reference=annotated)
        assert all(torch.equal(handed, again) for handed, again in zip(*runs, strict=True))

    def test_features_of_a_frame_can_be_exported(self, network: Any) -> None:
        exported = torch.export.export(Encoder(network), (torch.rand(1, 3, 48, 64),), strict=False)
        other = torch.rand(1, 3, 48, 64)
        for ours, theirs in zip(network.encode(other), exported.module()(other), strict=True):
            torch.testing.assert_close(ours, theirs)

    # Sessions

    def open_session(self, **options: Any) -> Any:
        return VideoSession(self.new_network(), size=None, **options)

    def test_masks_in_the_middle_reach_both_ends(self, network: Any) -> None:
        masks = {3: relabel(VIDEO.masks[3], (1, 2)), 6: relabel(VIDEO.masks[6], (2, 7))}
        both = {one.index: one for one in segment_frames(VIDEO.frames, masks, model=network, direction="both")}
        backward = {one.index: one for one in segment_frames(VIDEO.frames, masks, model=network, direction="backward")}
        assert sorted(both) == sorted(backward) == list(range(len(VIDEO.frames)))
        for index, result in both.items():
            assert set(result.object_ids) == {1, 2, 7}
            torch.testing.assert_close(result.probabilities.sum(0), torch.ones(result.probabilities.shape[1:]))
            if index < 3:
                assert torch.equal(result.probabilities, backward[index].probabilities)
            if index in masks:
                assert (result.mask[masks[index] > 0] == masks[index][masks[index] > 0]).all()

    def test_what_an_annotated_frame_memorises(self, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """An annotated frame is predicted and aggregated like any other; given masks change it; it is aggregated again.

        Source: the authors' programs of STCN and RDE-VOS for objects that appear later.
        """
        height, width = 33, 47  # padded
        session = VideoSession(network, size=None, optimize=False)
        predicted, memorised = [], []
        predict, memorize = network.predict, network.memorize

        def spied_predict(features: Any, memory: Any) -> Any:
            predicted.append(predict(features, memory))
            return predicted[-1]

        def spied_memorize(features: Any, probabilities: torch.Tensor, memory: Any, **options: Any) -> None:
            memorised.append(probabilities)
            memorize(features, probabilities, memory, **options)

        monkeypatch.setattr(network, "predict", spied_predict)
        monkeypatch.setattr(network, "memorize", spied_memorize)
        given = {0: (1, 2), 3: (0, 2, 3)}  # object 3 joins and 2 is corrected; 1 is as it was predicted
        for index in range(4):
            mask = relabel(VIDEO.masks[index], given[index])[:height, :width] if index in given else None
            session.step(VIDEO.frames[index, :height, :width], mask)
        tall, wide = memorised[-1].shape[2:]
        top, left = (tall - height) // 2, (wide - width) // 2
        exact = torch.zeros(2, tall, wide, dtype=torch.float64)
        for plane, object_id in enumerate((2, 3)):
            exact[plane, top : top + height, left : left + width] = torch.from_numpy(mask == object_id)
        aggregated = naive_aggregation(predicted[-1].logits[0].double().sigmoid())
        untouched = aggregated[0] * (1 - exact.amax(dim=0))
        expected = naive_aggregation(torch.stack([untouched, exact[0], exact[1]]))
        assert (expected[0] > 0.01).any()
        inside = torch.zeros(tall, wide, dtype=torch.bool)
        inside[top : top + height, left : left + width] = True
        if network.pads_masks_with_zeros:
            expected[:, ~inside] = 0
        # Two aggregations in float32: odds of 1e7 at most, so that an error of 1e-7 may become one of 1e-6.
        torch.testing.assert_close(memorised[-1][0].double(), expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("event", ["full", "annotated", "grows"])
    def test_a_frame_without_memory_leaves_no_trace_wherever_it_fails(
        self, network: Any, monkeypatch: pytest.MonkeyPatch, event: str
    ) -> None:
        most = {"full": 3, "annotated": 16, "grows": None}[event]  # the fifth frame doubles a bank without a bound
        frames, policy = VIDEO.frames[:6], replace(network.default_policy(), every=1, max_frames=most)
        masks = {0: relabel(VIDEO.masks[0], (1, 2))}
        if event == "annotated":  # one object is corrected and one joins, on the frame for which memory is short
            masks[4] = relabel(VIDEO.masks[4], (0, 2, 3))
        undisturbed = VideoSession(network, size=None, policy=policy, optimize=False)
        expected = [undisturbed.step(frame, masks.get(index)) for index, frame in enumerate(frames)]
        session = VideoSession(network, size=None, policy=policy, optimize=False)
        for index in range(4):
            session.step(frames[index], masks.get(index))
        fail_at, taken = [0], [0]
        memorize = type(network).memorize

        def memorize_with_little_memory(*arguments: Any, **options: Any) -> None:
            with LittleMemory(fail_at[0]) as little:
                try:
                    memorize(*arguments, **options)
                finally:
                    taken[0] = little.taken

        monkeypatch.setattr(type(network), "memorize", memorize_with_little_memory)
        while True:
            try:
                results = [session.step(frames[4], masks.get(4))]
                break
            except OutOfMemoryError:
                fail_at[0] += 1
        assert taken[0] == fail_at[0] > 5
        monkeypatch.undo()
        results.append(session.step(frames[5]))
        assert session.memory_bytes == undisturbed.memory_bytes
        for result, other in zip(results, expected[4:], strict=True):
            assert torch.equal(result.probabilities, other.probabilities)

    def test_an_object_that_cannot_leave_for_lack_of_memory_stays(self, network: Any) -> None:
        expected, sessions = [], [VideoSession(network, size=None, optimize=False) for _ in range(2)]
        for session in sessions:
            session.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1, 2)))
            session.step(VIDEO.frames[1])
            if session is sessions[1]:
                for fail_at in range(100):
                    with LittleMemory(fail_at) as little:
                        try:
                            session.remove(1)
                            break
                        except OutOfMemoryError:
                            assert session.object_ids == (1, 2)
                assert little.taken == fail_at
            else:
                session.remove(1)
            expected.append(session.step(VIDEO.frames[2]))
        assert expected[1].object_ids == (2,)
        assert torch.equal(expected[0].probabilities, expected[1].probabilities)

    def test_a_session_that_replays_parts_has_the_same_results(self, network: Any) -> None:
        """What ``replayable`` names must depend on nothing but the tensors it is given."""
        calls = ReplayedCalls()
        graphs = Graphs(calls)
        results = []
        for each in (network, graphs.replaying(network)):
            session = VideoSession(each, size=None, optimize=False)
            for index in range(24):
                number = index % len(VIDEO.frames)
                masks = {0: relabel(VIDEO.masks[0], (1, 2)), 7: relabel(VIDEO.masks[number], (0, 2, 3))}
                if index == 15:
                    session.remove(1)
                results.append(session.step(VIDEO.frames[number], masks.get(index)).probabilities)
        assert all(torch.equal(*pair) for pair in zip(results[:24], results[24:], strict=True))
        assert calls.replayed > 0
        assert set(graphs.states.values()) == {"replayed"}, graphs.states

    def test_the_same_video_gives_the_same_numbers(self) -> None:
        runs = [probabilities(self.new_network()) for _ in range(2)]
        assert torch.equal(*runs)

    def test_bf16_is_close_to_fp32(self, network: Any) -> None:
        exact, half = probabilities(network), probabilities(network, precision="bf16")
        # bfloat16 has 8 significant bits. Each of about twenty layers rounds once, relative error 2^-9, so that logits
        # of order one are off by a few percent; a probability moves by at most a quarter of its logit's change.
        assert (exact - half).abs().max() < 0.02
        assert not torch.equal(exact, half)

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_weights_stored_in_half_precision_change_nothing(
        self, network: Any, precision: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mask, masks = relabel(VIDEO.masks[0], (1, 2)), []
        for stores in (True, False):
            if not stores:
                monkeypatch.setattr("vos_zoo.inference.arithmetic.store_weights", lambda *_: None)
            session = VideoSession(network, size=None, precision=precision)
            session.step(VIDEO.frames[0], mask)
            masks.append(torch.stack([session.step(frame).probabilities for frame in VIDEO.frames[1:4]]))
        assert torch.equal(*masks)

    def test_the_network_rearranged_for_inference_gives_the_same(self, network: Any) -> None:
        plain, optimized = (probabilities(network, optimize=optimize) for optimize in (False, True))
        # Folding multiplies weights in float32 once more; the processor decides in which order sums are taken.
        torch.testing.assert_close(optimized, plain, atol=3e-5, rtol=0)

    def test_memory_does_not_grow_with_the_video(self, network: Any) -> None:
        session = VideoSession(network, size=None)
        sizes, frames = [], []
        for index in range(60):
            session.step(VIDEO.frames[index % 10], VIDEO.masks[0] if index == 0 else None)
            sizes.append(session.memory_bytes)
            frames.append(session.memory_frames)
        # What a read stacks is freed by the next write, so sizes differ within a period, but not between periods.
        assert set(sizes[20:40]) == set(sizes[40:60])
        assert max(frames[20:40]) == max(frames[40:60])
        estimate = session.describe((HEIGHT, WIDTH), objects=3).memory_bytes
        assert estimate is not None
        assert 0.9 * estimate <= max(sizes) <= estimate

    def test_the_network_keeps_no_state(self) -> None:
        module = self.new_module()  # still in training mode
        before = {key: tensor.clone() for key, tensor in module.network.state_dict().items()}
        attributes = {name: set(vars(part)) for name, part in module.network.named_modules()}
        first, again = (probabilities(module) for _ in range(2))
        assert torch.equal(first, again)
        assert all(torch.equal(tensor, before[key]) for key, tensor in module.network.state_dict().items())
        assert {name: set(vars(part)) for name, part in module.network.named_modules()} == attributes

    def test_a_saved_network_gives_the_same_masks(self, network: Any, tmp_path: Path) -> None:
        folder = save_checkpoint_folder(network, tmp_path / "model", card="# Untrained\n", half=False)
        assert torch.equal(probabilities(load_model(folder, device="cpu")), probabilities(network))

    # Training

    def test_a_training_step_reaches_every_parameter(self) -> None:
        module = self.new_module()
        module.log = ignore
        module.train()
        module.training_step(training_batch(), 0).backward()
        gradients = {name: parameter.grad for name, parameter in module.network.named_parameters()}
        assert [name for name, gradient in gradients.items() if gradient is None] == []
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        idle = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-9}
        assert idle <= self.without_effect

    @pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
    @pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning asks torch in the old way
    def test_training_moves_all_but_the_batch_statistics(self) -> None:
        module = self.new_module(learning_rate=1e-3)
        before = {key: tensor.clone() for key, tensor in module.network.state_dict().items()}
        data = SyntheticDataModule(
            batch_size=2,
            crop_size=32,
            num_frames=5,
            samples_per_epoch=2,
            num_workers=0,
            perturb_first_mask=(0.5, 0.8),
        )
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
        )
        trainer.fit(module, data)
        after = module.network.state_dict()
        statistics = dict(module.network.named_buffers())
        assert bool(statistics) >= self.has_batch_norm
        assert all(torch.equal(after[key], before[key]) for key in statistics)
        still = {key for key in before.keys() - statistics.keys() if torch.equal(after[key], before[key])}
        assert still <= self.without_effect
        norms = [name for name, part in module.network.named_modules() if isinstance(part, _BatchNorm)]
        assert bool(norms) == self.has_batch_norm
        assert all(f"{name}.{kind}" not in still for name in norms for kind in ("weight", "bias"))


class Encoder(torch.nn.Module):
    """The first verb as a module of its own, which is what torch.export takes."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network.encode(image))


def unroll(network: Any, frames: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Memorise the first frame and a prediction of the second; return logits of the third."""
    memory = network.new_memory()
    first, second, third = (network.encode(frame) for frame in frames)
    network.memorize(first, masks, memory, reference=True)
    memory.tick()
    network.memorize(second, torch.sigmoid(network.segment(second, memory)), memory)
    memory.tick()
    logits: torch.Tensor = network.segment(third, memory)
    return logits


def naive_aggregation(probabilities: torch.Tensor) -> torch.Tensor:
    """Share every pixel out between objects (O, H, W) and background in proportion to their odds, in float64."""
    every = torch.cat([(1 - probabilities).prod(dim=0, keepdim=True), probabilities]).clamp(1e-7, 1 - 1e-7)
    odds = every / (1 - every)
    return (odds / odds.sum(dim=0))[1:]


def contents(thing: Any, path: str = "", seen: frozenset[int] = frozenset()) -> dict[str, Any]:
    """Copy all tensors, numbers and lengths that an object holds, by where they are, without modules and functions."""
    if isinstance(thing, torch.Tensor):
        return {path: thing.clone()}
    if thing is None or isinstance(thing, (int, float, str)):
        return {path: thing}
    if isinstance(thing, torch.nn.Module) or callable(thing) or id(thing) in seen:
        return {}
    parts: dict[Any, Any] = {}
    found: dict[str, Any] = {}
    if isinstance(thing, dict):
        parts = thing
    elif isinstance(thing, (list, tuple)):
        parts, found = dict(enumerate(thing)), {f"{path}.length": len(thing)}
    elif hasattr(thing, "__dict__"):
        parts = vars(thing)
    for name, part in parts.items():
        found |= contents(part, f"{path}.{name}".lstrip("."), seen | {id(thing)})
    return found


def same(one: Any, other: Any) -> bool:
    """Compare two values of ``contents`` exactly; storage that was never written may hold NaN."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num())
    return type(one) is type(other) and one == other


def probabilities(model: Any, **options: Any) -> torch.Tensor:
    """Segment the video and return all probabilities (T, 1 + O, H, W)."""
    session = VideoSession(model, size=None, **options)
    results = [session.step(frame, VIDEO.masks[0] if index == 0 else None) for index, frame in enumerate(VIDEO.frames)]
    return torch.stack([result.probabilities for result in results])


def ignore(*arguments: Any, **options: Any) -> None:
    """Take the place of ``LightningModule.log``, which needs a trainer."""
