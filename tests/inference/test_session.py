"""One video's session, whatever the model: ids, late objects, corrections, sizes, mistakes, memory."""

from __future__ import annotations

import functools
import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo import VideoSession
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.errors import ConfigError, MaskError, MemoryBudgetError, OutOfMemoryError, VideoError
from vos_zoo.models.rde import RDEConfig, RDENetwork
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.models.stm import STMConfig, STMNetwork
from vos_zoo.network import MemoryPolicy
from vos_zoo.registry import find_architecture

SIZE = (40, 56)
VIDEO = moving_shapes(12, *SIZE, num_objects=3, rng=1)
FRAMES = VIDEO.frames


def build(kind, config):
    torch.manual_seed(0)
    return kind(config.tiny()).eval()


NETWORKS = {
    "stm": build(STMNetwork, STMConfig),
    "stcn": build(STCNNetwork, STCNConfig),
    "rde": build(RDENetwork, RDEConfig),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


@pytest.fixture
def stcn():
    return NETWORKS["stcn"]


def boxes(ids, size=SIZE, dtype=np.int32):
    """A mask with one box for each id, side by side."""
    mask = np.zeros(size, dtype)
    width = size[1] // max(len(ids), 1)
    for index, object_id in enumerate(ids):
        mask[size[0] // 4 : 3 * size[0] // 4, index * width + 1 : (index + 1) * width - 1] = object_id
    return mask


def run(session, masks, frames=FRAMES):
    """Step through all frames; ``masks`` are given by frame number."""
    return [session.step(frame, masks.get(index)) for index, frame in enumerate(frames)]


def same(results, others):
    return all(
        np.array_equal(ours.mask, theirs.mask) and torch.equal(ours.probabilities, theirs.probabilities)
        for ours, theirs in zip(results, others, strict=True)
    )


# Ids


@pytest.mark.parametrize(
    ("ids", "dtype", "kind"),
    [
        ((1,), np.uint8, np.uint8),
        ((7, 255), np.uint8, np.uint8),
        ((7, 255), np.int64, np.uint8),
        ((7, 300, 65535), np.uint16, np.uint16),
        ((5, 3), np.int16, np.uint8),
        ((1, 2**31 - 1), np.uint64, np.int32),
    ],
)
def test_ids_are_any_whole_numbers_from_1_on(stcn, ids, dtype, kind):
    mask = boxes(ids, dtype=dtype)
    results = run(VideoSession(stcn, size=None), {0: mask})
    assert (results[0].mask == mask).all()
    for index, result in enumerate(results):
        assert result.index == index
        assert result.object_ids == tuple(sorted(ids))
        assert result.mask.dtype == kind
        assert set(np.unique(result.mask)) <= {0, *ids}


def test_the_type_of_masks_grows_with_the_ids_and_never_shrinks(stcn):
    session = VideoSession(stcn, size=None)
    steps = [None, boxes([3]), boxes([300]), boxes([70_000]), None]
    kinds = [session.step(frame, mask).mask.dtype for frame, mask in zip(FRAMES, steps, strict=False)]
    for object_id in session.object_ids:
        session.remove(object_id)
    kinds.append(session.step(FRAMES[5]).mask.dtype)
    assert kinds == [np.uint8, np.uint8, np.uint16, np.int32, np.int32, np.int32]


@pytest.mark.parametrize("object_id", [2**31, 2**40])
def test_ids_beyond_32_bits_are_refused(stcn, object_id):
    with pytest.raises(MaskError, match=f"object id {object_id}. Expected ids that fit 32 bits"):
        VideoSession(stcn, size=None).step(FRAMES[0], boxes((object_id,), dtype=np.int64))


def test_the_ids_do_not_change_the_masks(network):
    plain = run(VideoSession(network, size=None), {0: boxes((1, 2))})
    named = run(VideoSession(network, size=None), {0: boxes((40, 900))})
    for ours, theirs in zip(plain, named, strict=True):
        assert torch.equal(ours.probabilities, theirs.probabilities)
        assert (np.array([0, 40, 900])[ours.mask] == theirs.mask).all()


# When objects come, change and go


def test_nothing_is_tracked_before_the_first_mask(network):
    session = VideoSession(network, size=None)
    results = run(session, {3: boxes((4, 9))})
    for result in results[:3]:
        assert result.object_ids == ()
        assert not result.mask.any()
        assert result.probabilities.shape == (1, *SIZE)
        assert (result.probabilities == 1).all()
    assert (results[3].mask == boxes((4, 9))).all()
    assert all(result.object_ids == (4, 9) for result in results[3:])


def test_a_late_start_equals_a_start_there(network):
    late = run(VideoSession(network, size=None), {3: boxes((4, 9))})
    there = run(VideoSession(network, size=None), {0: boxes((4, 9))}, FRAMES[3:])
    assert same(late[3:], there)


def test_an_empty_first_mask_is_no_object(network):
    session = VideoSession(network, size=None)
    first = session.step(FRAMES[0], np.zeros(SIZE, np.uint8))
    assert first.object_ids == session.object_ids == ()
    assert not first.mask.any()
    assert session.memory_frames == session.memory_bytes == 0
    assert (session.step(FRAMES[1], boxes((3,))).mask == boxes((3,))).all()


def test_a_late_object_does_not_exist_before(network):
    late = boxes((0, 0, 8))
    results = run(VideoSession(network, size=None), {0: boxes((5, 2, 0)), 4: late})
    for result in results[:4]:
        assert result.object_ids == (2, 5)
        assert 8 not in result.mask
        assert len(result.probabilities) == 3
    assert all(result.object_ids == (2, 5, 8) for result in results[4:])
    assert ((results[4].mask == 8) == (late == 8)).all()
    assert (results[4].probabilities[3][torch.from_numpy(late == 8)] > 0.99).all()
    assert (results[4].probabilities[3][torch.from_numpy(late != 8)] < 0.01).all()


def test_a_late_object_leaves_earlier_frames_as_they_were(network):
    alone = run(VideoSession(network, size=None), {0: boxes((5, 2))})
    joined = run(VideoSession(network, size=None), {0: boxes((5, 2)), 6: boxes((0, 0, 8))})
    assert same(alone[:6], joined[:6])


def test_a_correction_wins(network):
    correction = np.zeros(SIZE, np.int32)
    correction[2:9, 3:17] = 2
    free, corrected = (
        run(VideoSession(network, size=None), {0: boxes((1, 2))} | more) for more in ({}, {4: correction})
    )
    assert same(free[:4], corrected[:4])
    result = corrected[4]
    assert result.object_ids == (1, 2)
    assert ((result.mask == 2) == (correction == 2)).all()
    assert set(np.unique(result.mask[correction == 0])) <= {0, 1}
    assert not torch.equal(free[5].probabilities, corrected[5].probabilities)


def test_all_objects_can_be_annotated_on_every_frame(network):
    session = VideoSession(network, size=None)
    for frame, mask in zip(FRAMES, VIDEO.masks, strict=True):
        annotated = mask.astype(np.int32)
        result = session.step(frame, annotated)
        present = set(np.unique(annotated)) - {0}
        for object_id in present:
            assert ((result.mask == object_id) == (annotated == object_id)).all()


def test_a_removed_object_is_gone_and_may_come_back(network):
    session = VideoSession(network, size=None)
    run(session, {0: boxes((1, 2, 3))}, FRAMES[:4])
    session.remove(2)
    assert session.object_ids == (1, 3)
    for frame in FRAMES[4:8]:
        result = session.step(frame)
        assert result.object_ids == (1, 3)
        assert 2 not in result.mask
        assert len(result.probabilities) == 3
    back = session.step(FRAMES[8], boxes((0, 2, 0)))
    assert back.object_ids == (1, 3, 2)
    assert ((back.mask == 2) == (boxes((0, 2, 0)) == 2)).all()
    session.step(FRAMES[9])


def test_after_the_last_object_nothing_is_tracked(network):
    session = VideoSession(network, size=None)
    run(session, {0: boxes((1, 2))}, FRAMES[:3])
    session.remove(1)
    session.remove(2)
    assert session.memory_bytes == 0
    assert session.step(FRAMES[3]).object_ids == ()
    assert session.step(FRAMES[4], boxes((2,))).object_ids == (2,)
    assert session.step(FRAMES[5]).object_ids == (2,)


def test_an_object_that_is_not_tracked_cannot_be_removed(stcn):
    with pytest.raises(MaskError, match="Object 3 is not tracked"):
        VideoSession(stcn).remove(3)


def test_removal_before_memory_moves_on_equals_never_having_had_the_object(network):
    with_third, without = (VideoSession(network, size=None) for _ in range(2))
    with_third.step(FRAMES[0], boxes((1, 2)))
    mask = boxes((1, 2))
    with_third.step(FRAMES[1], boxes((0, 0, 0, 9)))
    with_third.remove(9)
    without.step(FRAMES[0], mask)
    without.step(FRAMES[1])
    assert with_third.object_ids == without.object_ids
    assert with_third.step(FRAMES[2]).probabilities.shape == without.step(FRAMES[2]).probabilities.shape


# Sizes


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    size=st.none() | st.integers(1, 40),
    name=st.sampled_from(sorted(NETWORKS)),
)
def test_every_size_of_frame_works(height, width, size, name):
    if size is not None and max(height, width) * size > 200 * min(height, width):
        size = None  # a thin frame would become a very long one
    generator = np.random.default_rng(height * 100 + width)
    frames = generator.integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    mask = generator.integers(0, 3, (height, width)) * 100
    session = VideoSession(NETWORKS[name], size=size, policy=MemoryPolicy(every=1, max_frames=3))
    first = session.step(frames[0], mask)
    assert (first.mask == mask).all()
    for frame in frames[1:]:
        result = session.step(frame)
        assert result.mask.shape == (height, width)
        assert set(np.unique(result.mask)) <= {0, 100, 200}
        assert result.probabilities.isfinite().all()


@pytest.mark.parametrize(("size", "working"), [(16, (16, 22)), (80, (80, 112)), (None, SIZE)])
def test_the_short_side_gets_the_working_size(stcn, size, working):
    session = VideoSession(stcn, size=size)
    result = session.step(FRAMES[0], boxes((1, 2)))
    assert tuple(result.probabilities.shape[1:]) == working
    assert result.mask.shape == SIZE
    assert (result.mask == boxes((1, 2))).all()
    assert tuple(session.step(FRAMES[1]).probabilities.shape[1:]) == working


@pytest.mark.parametrize(("frame", "working"), [((80, 112), (24, 32)), ((112, 80), (32, 24)), ((20, 20), (24, 32))])
def test_a_native_size_is_turned_with_the_video(stcn, monkeypatch, frame, working):
    monkeypatch.setattr(STCNNetwork, "working_size", (24, 32))
    session = VideoSession(stcn)
    assert session.describe(frame).working_size == (32, 32)
    mask = boxes((4,), frame)
    result = session.step(np.zeros((*frame, 3), np.uint8), mask)
    assert tuple(result.probabilities.shape[1:]) == working
    assert (result.mask == mask).all()
    assert session.step(np.zeros((*frame, 3), np.uint8)).mask.shape == frame


def test_native_is_480_pixels_for_most_models(network):
    assert VideoSession(network).describe((1080, 1920)) == VideoSession(network, size=480).describe((1080, 1920))


def test_a_pair_is_the_size_of_all_frames(stcn):
    for frame in ((100, 200), (200, 100), (10, 10)):
        assert VideoSession(stcn, size=(32, 64)).describe(frame).working_size == (32, 64)


# Devices


@pytest.mark.parametrize("optimize", [True, False])
def test_a_session_may_run_elsewhere_than_its_model(optimize, monkeypatch):
    model = build(STCNNetwork, STCNConfig)
    monkeypatch.setattr("vos_zoo.inference.session.find_device", lambda name: torch.device({"there": "meta"}[name]))
    session = VideoSession(model, device="there", optimize=optimize)
    assert session.device.type == "meta"
    assert {part.device.type for part in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_a_session_stays_where_its_model_is(stcn, device):
    session = VideoSession(stcn, device=device, size=None)
    assert session.device == torch.device("cpu")
    plain = run(VideoSession(stcn, size=None), {0: boxes((4, 9))}, FRAMES[:3])
    assert same(run(session, {0: boxes((4, 9))}, FRAMES[:3]), plain)


def test_a_compiled_session_gives_the_same_masks_and_leaves_the_model_alone(stcn, monkeypatch):
    # Graphs are captured, but run as they are: compiling them to machine code would take minutes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    plain = run(VideoSession(stcn, size=None), {0: boxes((4, 9))}, FRAMES[:3])
    compiled = VideoSession(stcn, size=None, compile=True)
    assert same(run(compiled, {0: boxes((4, 9))}, FRAMES[:3]), plain)
    assert not any(part._compiled_call_impl for part in stcn.modules())
    assert all(part._compiled_call_impl for part in compiled._network.children())


def test_parts_in_lists_and_dictionaries_are_compiled_too(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    session = VideoSession(NETWORKS["rde"], size=None, compile=True)
    assert all(part._compiled_call_impl for part in session._network.aggregation.values())


def test_without_a_compiler_a_session_says_so_at_once(stcn, monkeypatch):
    def fail(function):
        def call(*_):
            raise RuntimeError("No working C++ compiler found\nlong trace")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(ConfigError, match=r"compiler for cpu \(RuntimeError: No working C\+\+ compiler found\)"):
        VideoSession(stcn, compile=True)


def test_a_mask_is_the_most_probable_plane_at_the_frames_size(stcn):
    session = VideoSession(stcn, size=24)
    run(session, {0: boxes((5, 6))}, FRAMES[:4])
    result = session.step(FRAMES[4])
    enlarged = torch.nn.functional.interpolate(result.probabilities[None], SIZE, mode="bilinear")[0]
    assert (np.array([0, 5, 6])[enlarged.argmax(0).numpy()] == result.mask).all()


# Mistakes


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros(SIZE, np.uint8),
        np.zeros((*SIZE, 1), np.uint8),
        np.zeros((*SIZE, 4), np.uint8),
        np.zeros((1, *SIZE, 3), np.uint8),
        np.full((*SIZE, 3), 40, np.float32),
        np.zeros((*SIZE, 3), np.int64),
        np.zeros((*SIZE, 3), bool),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_frame_is_refused(stcn, frame):
    session = VideoSession(stcn, size=None)
    with pytest.raises(VideoError, match="Frame 0"):
        session.step(frame)
    assert session.num_frames == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((*SIZE, 3), np.uint8), "has shape"),
        (np.zeros((1, *SIZE), np.uint8), "has shape"),
        (np.zeros(SIZE, np.float32), "type float32"),
        (
            boxes((-1, 1)),
            r"The mask of frame 0 holds the value -1\. Object ids are .* from 1 on.*void=-1 \(`--void -1`\)",
        ),
        (np.zeros(SIZE[::-1], np.uint8), "40x56 pixels, its frame 56x40"),
        (np.zeros((20, 28), np.uint8), "28x20 pixels, its frame 56x40"),
    ],
)
def test_what_is_no_mask_of_the_frame_is_refused(stcn, mask, message):
    session = VideoSession(stcn, size=None)
    with pytest.raises(MaskError, match=message):
        session.step(FRAMES[0], mask)
    assert session.num_frames == 0
    session.step(FRAMES[0], boxes((1,)))


def test_frames_of_a_video_have_one_size(stcn):
    session = VideoSession(stcn, size=None)
    session.step(FRAMES[0], boxes((1,)))
    with pytest.raises(VideoError, match="Frame 1 is 40x56 pixels, the frames before were 56x40"):
        session.step(FRAMES[1].transpose(1, 0, 2))
    assert session.step(FRAMES[1]).index == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "Working size is 0"),
        ({"size": -480}, "Working size is -480"),
        ({"size": (256, 0)}, r"Working size is \(256, 0\)"),
        ({"size": (256,)}, "Expected a short side"),
        ({"size": "480"}, "Working size is '480'"),
        ({"device": "gpu"}, "Device 'gpu' is unknown"),
        ({"precision": "fp8"}, "Precision is 'fp8'"),
        ({"max_memory_bytes": 0}, "max_bytes=0"),
    ],
)
def test_options_out_of_range(stcn, options, message):
    with pytest.raises(ConfigError, match=message):
        VideoSession(stcn, **options)


def test_a_mistake_leaves_the_session_as_it_was(network):
    plain, disturbed = (VideoSession(network, size=None) for _ in range(2))
    expected = run(plain, {0: boxes((1, 2))})
    results = []
    for index, frame in enumerate(FRAMES):
        with pytest.raises(MaskError):
            disturbed.step(frame, np.zeros((3, 3), np.uint8))
        results.append(disturbed.step(frame, boxes((1, 2)) if index == 0 else None))
    assert same(expected, results)


# Out of memory


class Failing:
    """Makes a method of a network class fail at its n-th call, before or after its work."""

    def __init__(self, monkeypatch, owner, method, call, *, error=None, is_after=False):
        self.calls = 0
        work = getattr(owner, method)
        error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        def failing(*arguments, **options):
            self.calls += 1
            if self.calls == call and not is_after:
                raise error
            result = work(*arguments, **options)
            if self.calls == call:
                raise error
            return result

        monkeypatch.setattr(owner, method, failing)


@pytest.mark.parametrize(
    "error",
    [
        None,
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to ..."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
)
def test_out_of_memory_names_sizes_and_three_settings(monkeypatch, stcn, error):
    session = VideoSession(stcn, size=None, policy=MemoryPolicy(every=1))
    run(session, {0: boxes((1, 2, 3))}, FRAMES[:6])
    Failing(monkeypatch, STCNNetwork, "segment", 1, error=error)
    with pytest.raises(OutOfMemoryError) as caught:
        session.step(FRAMES[6])
    message = str(caught.value)
    for part in (
        "Out of memory on cpu at frame 6",
        "56x40 pixels",
        "3 objects",
        "6 frames in memory",
        "MiB",
        "size=16",
        "max_frames=3",
        "precision='bf16'",
    ):
        assert part in message
    assert isinstance(caught.value, MemoryError)


def test_in_half_precision_fewer_objects_are_the_third_setting(monkeypatch, stcn):
    session = VideoSession(stcn, size=None, precision="bf16")
    session.step(FRAMES[0], boxes((1, 2, 3, 4)))
    Failing(monkeypatch, STCNNetwork, "segment", 1)
    with pytest.raises(OutOfMemoryError, match="2 objects at a time"):
        session.step(FRAMES[1])


@pytest.mark.parametrize(
    ("place", "is_after", "index"),
    [("encode", False, 3), ("segment", False, 3), ("segment", True, 3), ("segment", True, 5), ("memorize", False, 5)],
)
def test_a_frame_that_failed_can_be_given_again(monkeypatch, network, place, is_after, index):
    policy = MemoryPolicy(every=5)
    expected = run(VideoSession(network, size=None, policy=policy), {0: boxes((1, 2))})
    session = VideoSession(network, size=None, policy=policy)
    results = run(session, {0: boxes((1, 2))}, FRAMES[:index])
    memory = session.memory_bytes
    Failing(monkeypatch, type(network), place, 1, is_after=is_after)
    with pytest.raises(OutOfMemoryError):
        session.step(FRAMES[index])
    assert session.num_frames == index
    assert session.object_ids == (1, 2)
    assert session.memory_bytes == memory
    results += [session.step(frame) for frame in FRAMES[index:]]
    assert same(expected, results)


def test_a_frame_that_failed_can_be_left_out(monkeypatch, network):
    rest = np.delete(FRAMES, 4, axis=0)
    expected = run(VideoSession(network, size=None), {0: boxes((1, 2))}, rest)
    session = VideoSession(network, size=None)
    results = run(session, {0: boxes((1, 2))}, FRAMES[:4])
    Failing(monkeypatch, type(network), "segment", 1, is_after=True)
    with pytest.raises(OutOfMemoryError):
        session.step(FRAMES[4])
    results += [session.step(frame) for frame in FRAMES[5:]]
    assert same(expected, results)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_an_object_that_does_not_fit_does_not_join(monkeypatch, name):
    network = NETWORKS[name]
    masks = {0: boxes((1, 2))}
    expected = run(VideoSession(network, size=None), masks)
    session = VideoSession(network, size=None)
    results = run(session, masks, FRAMES[:4])
    Failing(monkeypatch, type(network), "memorize", 1)
    with pytest.raises(OutOfMemoryError, match="3 objects"):
        session.step(FRAMES[4], boxes((0, 0, 7)))
    assert session.object_ids == (1, 2)
    results += [session.step(frame) for frame in FRAMES[4:]]
    assert same(expected, results)


def test_a_bank_that_does_not_fit_leaves_the_memory_whole(monkeypatch, stcn):
    from vos_zoo.memory import MemoryBank

    expected = run(VideoSession(stcn, size=None), {0: boxes((1, 2))})
    session = VideoSession(stcn, size=None)
    results = run(session, {0: boxes((1, 2))}, FRAMES[:4])
    Failing(monkeypatch, MemoryBank, "write", 1)
    with pytest.raises(OutOfMemoryError):
        session.step(FRAMES[4], boxes((0, 0, 7)))
    results += [session.step(frame) for frame in FRAMES[4:]]
    assert same(expected, results)


def test_the_error_does_not_hold_the_activations(monkeypatch, stcn):
    session = VideoSession(stcn, size=None)
    session.step(FRAMES[0], boxes((1,)))
    segment, made = STCNNetwork.segment, []

    def failing(self, features, memory):
        logits = segment(self, features, memory)
        made.extend(weakref.ref(part) for part in (logits, *features))
        raise torch.OutOfMemoryError

    monkeypatch.setattr(STCNNetwork, "segment", failing)
    with pytest.raises(OutOfMemoryError) as caught:
        session.step(FRAMES[1])
    gc.collect()
    assert caught.value is not None
    assert [part for part in made if part() is not None] == []


def test_other_errors_pass_as_they_are(monkeypatch, stcn):
    session = VideoSession(stcn, size=None)
    session.step(FRAMES[0], boxes((1,)))
    Failing(monkeypatch, STCNNetwork, "segment", 1, error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        session.step(FRAMES[1])
    session.step(FRAMES[1])


# Memory


@pytest.mark.parametrize("objects", [1, 3])
def test_the_estimate_bounds_the_memory(network, objects):
    session = VideoSession(network, size=None)
    estimate = session.describe(SIZE, objects=objects)
    sizes = []
    for index in range(40):
        session.step(FRAMES[index % 12], boxes(range(1, objects + 1)) if index == 0 else None)
        sizes.append(session.memory_bytes)
    assert 0.9 * estimate.memory_bytes <= max(sizes) <= estimate.memory_bytes
    assert estimate.frame_bytes * estimate.max_memory_frames == estimate.memory_bytes
    assert estimate.objects == objects
    assert estimate.working_size == (48, 64)
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert estimate.weight_bytes == pytest.approx(weights, rel=0.01)  # normalisation is folded into convolutions
    assert estimate.total_bytes == estimate.weight_bytes + estimate.working_bytes + estimate.memory_bytes


def test_half_precision_halves_the_memory(network):
    sizes = []
    for precision in ("fp32", "bf16"):
        session = VideoSession(network, size=None, precision=precision)
        run(session, {0: boxes((1, 2))})
        sizes.append(session.memory_bytes)
        described = session.describe(SIZE, objects=2).memory_bytes
        assert session.memory_bytes <= 1.1 * described
    # Biases stay float32.
    assert 0.5 * sizes[0] < sizes[1] < 0.6 * sizes[0]


def test_a_growing_policy_has_no_bound(stcn):
    session = VideoSession(stcn, size=None, policy=MemoryPolicy(every=1))
    estimate = session.describe(SIZE)
    assert (estimate.max_memory_frames, estimate.memory_bytes, estimate.total_bytes) == (None, None, None)
    results = run(session, {0: boxes((1,))})
    assert session.memory_frames == len(results)


@pytest.mark.parametrize("frames", [2, 3, 5])
@pytest.mark.parametrize("name", ["stcn", "stm"])
def test_a_byte_budget_means_fewer_frames(name, frames):
    network = NETWORKS[name]
    free = VideoSession(network, size=None, policy=MemoryPolicy(every=1))
    frame_bytes = free.describe(SIZE, objects=2).frame_bytes
    budget = frames * frame_bytes + frame_bytes // 2
    session = VideoSession(network, size=None, policy=MemoryPolicy(every=1), max_memory_bytes=budget)
    assert session.describe(SIZE, objects=2).max_memory_frames == frames
    for index, frame in enumerate(FRAMES):
        session.step(frame, boxes((1, 2)) if index == 0 else None)
        assert session.memory_bytes <= budget
    assert session.memory_frames == frames


@pytest.mark.parametrize("name", ["stcn", "stm"])
def test_a_late_object_takes_frames_from_the_others(name):
    network = NETWORKS[name]
    frame_bytes = VideoSession(network, size=None).describe(SIZE, objects=1).frame_bytes
    budget = 8 * frame_bytes
    session = VideoSession(network, size=None, policy=MemoryPolicy(every=1), max_memory_bytes=budget)
    run(session, {0: boxes((1,))}, FRAMES[:9])
    assert session.memory_frames == 8
    session.step(FRAMES[9], boxes((0, 2)))
    assert session.memory_frames == 4
    session.step(FRAMES[10])
    assert session.memory_bytes <= budget


def test_too_small_a_budget_is_refused_and_the_session_goes_on(network):
    one = VideoSession(network, size=None).describe(SIZE, objects=1)
    least = one.frame_bytes * (7 if network is NETWORKS["rde"] else 2)
    with pytest.raises(MemoryBudgetError, match="Raise the budget"):
        VideoSession(network, size=None, max_memory_bytes=least - 1).step(FRAMES[0], boxes((1,)))
    session = VideoSession(network, size=None, max_memory_bytes=least)
    expected = run(session, {0: boxes((1,))})
    again = VideoSession(network, size=None, max_memory_bytes=least)
    results = run(again, {0: boxes((1,))}, FRAMES[:5])
    with pytest.raises(MemoryBudgetError):
        again.step(FRAMES[5], boxes((0, 2)))
    assert again.object_ids == (1,)
    results += [again.step(frame) for frame in FRAMES[5:]]
    assert same(expected, results)


def test_nothing_of_earlier_frames_is_held(network):
    session = VideoSession(network, size=None)
    encode, references = type(session._network).encode, []

    def watched(self, image):
        features = encode(self, image)
        references.append([weakref.ref(image), *(weakref.ref(part) for part in features)])
        return features

    type(session._network).encode = watched
    try:
        frames = []
        for index in range(8):
            frame = FRAMES[index].copy()
            mask = boxes((1, 2)) if index == 0 else None
            frames.append(weakref.ref(frame))
            session.step(frame, mask)
            del frame, mask
    finally:
        type(session._network).encode = encode
    gc.collect()
    assert [reference() for reference in frames] == [None] * 8
    assert [len([part for part in parts if part() is not None]) for parts in references] == [0] * 8


def test_a_mask_of_the_user_is_not_changed_or_shared(network):
    mask, frame = boxes((1, 2)), FRAMES[0].copy()
    session = VideoSession(network, size=None)
    result = session.step(frame, mask)
    assert (mask == boxes((1, 2))).all()
    assert (frame == FRAMES[0]).all()
    assert not np.shares_memory(result.mask, mask)
    result.mask[:] = 5
    assert (mask == boxes((1, 2))).all()


def test_frames_may_be_views_of_any_layout(stcn):
    flipped = FRAMES[:, :, ::-1]
    copied = run(VideoSession(stcn, size=None), {0: boxes((1, 2))}, np.ascontiguousarray(flipped))
    viewed = run(VideoSession(stcn, size=None), {0: np.asfortranarray(boxes((1, 2)))}, flipped)
    assert same(copied, viewed)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_probabilities_are_float32_in_every_precision(stcn, precision):
    results = run(VideoSession(stcn, size=None, precision=precision), {0: boxes((1, 2))}, FRAMES[:3])
    assert all(result.probabilities.dtype == torch.float32 for result in results)
    assert all(result.probabilities.isfinite().all() for result in results)


def test_two_sessions_do_not_meet(network):
    alone = run(VideoSession(network, size=None), {0: boxes((1, 2))})
    one, other = (VideoSession(network, size=None) for _ in range(2))
    results = []
    for index, frame in enumerate(FRAMES):
        results.append(one.step(frame, boxes((1, 2)) if index == 0 else None))
        other.step(frame[::-1], boxes((9,)) if index == 0 else None)
    assert same(alone, results)


def test_a_session_tells_where_it_is(stcn):
    session = VideoSession(stcn, size=None)
    assert (session.num_frames, session.memory_frames, session.memory_bytes) == (0, 0, 0)
    session.step(FRAMES[0], boxes((1,)))
    assert (session.num_frames, session.memory_frames, session.device.type) == (1, 1, "cpu")


# Objects that a frame does not show


@pytest.mark.parametrize("name", ["stm", "stcn", "rde", "tsn", "giel", "hs2s", "dmn_aoa"])
@pytest.mark.parametrize("gone", [(4,), (4, 9)])
def test_an_object_that_a_frame_does_not_show_is_empty_in_it_and_stays_tracked(name, gone):
    architecture = find_architecture(name)
    torch.manual_seed(0)
    session = VideoSession(architecture.load_class("network")(architecture.new_config("tiny")), size=None)
    session.step(FRAMES[0], boxes((4, 9)))
    session.step(FRAMES[1])
    result = session.step(FRAMES[2], absent=gone)
    assert not set(gone) & set(np.unique(result.mask))
    assert result.object_ids == session.step(FRAMES[3]).object_ids == (4, 9)


def test_a_mask_and_absent_objects_go_together(network):
    session = VideoSession(network, size=None)
    session.step(FRAMES[0], boxes((4, 9)))
    result = session.step(FRAMES[1], boxes((0, 0, 5)), absent=[4])
    assert result.object_ids == (4, 9, 5)
    assert 4 not in result.mask
    np.testing.assert_array_equal(result.mask == 5, boxes((0, 0, 5)) == 5)


@pytest.mark.parametrize(("absent", "why"), [((3,), "not tracked"), ((9,), "in the mask")])
def test_only_tracked_objects_that_the_mask_leaves_out_can_be_absent(stcn, absent, why):
    session = VideoSession(stcn, size=None)
    session.step(FRAMES[0], boxes((4, 9)))
    with pytest.raises(MaskError, match=rf"Object {absent[0]} is declared absent from frame 1, but it is {why}"):
        session.step(FRAMES[1], boxes((0, 9)), absent=absent)
    assert session.num_frames == 1


# What frames and masks mean


def test_bgr_frames_give_the_masks_of_rgb_frames(network):
    masks = {0: boxes([1, 5])}
    expected = run(VideoSession(network, size=32), masks)
    got = run(VideoSession(network, size=32, color="bgr"), masks, [frame[:, :, ::-1] for frame in FRAMES])
    assert same(got, expected)
    with pytest.raises(ConfigError, match="order of colours is 'RGB'"):
        VideoSession(network, color="RGB")
    with pytest.raises(ConfigError, match="The void value is 'none'"):
        VideoSession(network, void="none")


def with_rims(ids, void=255):
    mask = boxes(ids)
    changes = np.zeros(mask.shape, bool)
    changes[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    changes[1:] |= mask[1:] != mask[:-1]
    return np.where(changes, void, mask)


@pytest.mark.parametrize("void", [255, "auto"])
def test_void_pixels_are_no_object(network, void):
    session = VideoSession(network, size=32, void=void)
    first = session.step(FRAMES[0], with_rims([1, 5]))
    assert first.object_ids == (1, 5)
    is_given = with_rims([1, 5]) != 255
    np.testing.assert_array_equal(first.mask[is_given], with_rims([1, 5])[is_given])
    assert not (first.mask == 255).any()
    assert set(np.unique(session.step(FRAMES[1]).mask)) <= {0, 1, 5}
    # Every value is an id if one says so, and an area of 255 is no rim.
    assert VideoSession(network, size=32, void=None).step(FRAMES[0], with_rims([1, 5])).object_ids == (1, 5, 255)
    assert VideoSession(network, size=32).step(FRAMES[0], boxes([1, 255])).object_ids == (1, 255)


@pytest.mark.parametrize("corrected", [(1,), (1, 5), ()])
def test_void_pixels_of_a_correction_are_segmented_as_if_nothing_had_been_given(network, corrected):
    sessions = [VideoSession(network, size=SIZE, void=-1) for _ in range(2)]
    for session in sessions:
        run(session, {0: boxes([1, 5])}, FRAMES[:3])
    mask = boxes([1, 5]) if corrected else np.zeros(SIZE, np.int32)
    mask[~np.isin(mask, corrected)] = 0
    mask[:, ::2] = -1
    free, given = sessions[0].step(FRAMES[3]).mask, sessions[1].step(FRAMES[3], mask)
    np.testing.assert_array_equal(given.mask[:, ::2], free[:, ::2])
    is_painted = np.isin(mask, corrected)
    np.testing.assert_array_equal(given.mask[is_painted], mask[is_painted])
    # Beside its painted and its open pixels, a corrected object is not there.
    assert not np.isin(given.mask[mask == 0], corrected).any()
    assert given.object_ids == (1, 5)


def test_absent_objects_are_not_in_void_pixels_either(network):
    session = VideoSession(network, size=SIZE, void=-1)
    session.step(FRAMES[0], boxes([1, 5]))
    mask = boxes([1, 5])
    mask[mask == 5] = -1
    result = session.step(FRAMES[0], mask, absent=[5])
    assert not (result.mask == 5).any()
    assert result.object_ids == (1, 5)


def test_objects_that_will_be_lost_are_said_once(network, caplog):
    session = VideoSession(network, size=32)
    mask = np.zeros((640, 640), np.int32)
    mask[100:110, 100:110], mask[300:500, 300:500] = 7, 8
    for _ in range(2):
        session.step(np.zeros((640, 640, 3), np.uint8), mask)
    (record,) = caplog.records
    assert "Object 7 in the mask of frame 0 is 100 pixels large" in record.getMessage()
    assert "size=512" in record.getMessage()


def test_long_strips_are_bounded_and_said(network, caplog):
    session = VideoSession(network, size=32)
    result = session.step(np.zeros((4, 640, 3), np.uint8))
    assert result.probabilities.shape[1] * result.probabilities.shape[2] <= 4 * 32**2
    assert result.mask.shape == (4, 640)
    session.step(np.zeros((4, 640, 3), np.uint8))
    assert caplog.text.count("long strips") == 1


def test_grey_levels_of_the_palette_are_named(network, caplog, monkeypatch):
    monkeypatch.setattr("vos_zoo.media.mask_notes._notes_given", set())
    VideoSession(network, size=SIZE).step(FRAMES[0], boxes([38, 75]))
    assert "The mask of frame 0 holds the grey levels of palette colours" in caplog.text
