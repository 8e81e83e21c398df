"""Sessions and training on a device against the CPU: the same tests on both, those with a GPU marked so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vos_zoo.errors import OutOfMemoryError
from vos_zoo.inference.session import VideoSession
from vos_zoo.registry import ARCHITECTURES
from vos_zoo.testing.clips import VIDEO, relabel, training_batch
from vos_zoo.testing.little_memory import LittleMemory

MASK = relabel(VIDEO.masks[0], (1, 2))
NAMES = sorted(ARCHITECTURES)
# Share of labels that may differ from the CPU's, in float32 for the first two, in the same precision else. Random
# networks put many pixels near a border, far more than the bundled ones, of which one in a thousand may.
MOST_DIFFERENT = {"fp32": 0.002, "tf32": 0.02, "bf16": 0.1, "fp16": 0.05}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(name: str) -> Any:
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    return architecture.load_class("network")(architecture.new_config("tiny")).eval()


def labels(network: Any, device: str, **options: Any) -> np.ndarray:
    session = VideoSession(network, device=device, size=None, **options)
    masks = {0: MASK, 4: relabel(VIDEO.masks[4], (0, 2, 3))}  # at frame 4 one object is corrected and one joins
    return np.stack([session.step(frame, masks.get(index)).mask for index, frame in enumerate(VIDEO.frames[:8])])


@pytest.mark.parametrize("precision", MOST_DIFFERENT)
@pytest.mark.parametrize("name", NAMES)
def test_labels_are_the_cpus(name: str, precision: str, device: str) -> None:
    network = build(name)
    expected = labels(network, "cpu", precision="fp32" if precision == "tf32" else precision)
    found = labels(network, device, precision=precision)
    assert (found[0] == expected[0]).all()
    assert (found != expected).mean() <= MOST_DIFFERENT[precision]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is no second CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_a_second_device_is_used_alone(name: str) -> None:
    network = build(name)
    torch.cuda.reset_peak_memory_stats(0)
    before = torch.cuda.max_memory_allocated(0)
    found = labels(network, "cuda:1")
    assert torch.cuda.max_memory_allocated(0) == before
    assert (found != labels(network, "cpu")).mean() <= MOST_DIFFERENT["fp32"]


class NoWaiting(TorchDispatchMode):
    """Refuses operations whose results Python looks at, for which it would wait until a device is done."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        aten = torch.ops.aten
        if func in (aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default):
            pytest.fail(f"waits for a device: {func}")
        if func in (aten.index.Tensor, aten.index_put_.default):
            assert not any(part is not None and part.dtype == torch.bool for part in args[1]), f"waits: {func}"
        return func(*args, **(kwargs or {}))


# GIEL counts the objects that are there, and DMN-AOA's boxes are looked at by Python.
@pytest.mark.parametrize("name", sorted({*NAMES} - {"giel", "dmn_aoa"}))
def test_no_frame_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOS_ZOO_MEMORY_BACKEND", "reference")  # those for CPUs may look at numbers
    session = VideoSession(build(name), size=None)
    session.step(VIDEO.frames[0], MASK)
    with NoWaiting():
        for index in range(1, 13):  # some of them are memorised
            session.submit(VIDEO.frames[index % len(VIDEO.frames)])
    with pytest.raises(pytest.fail.Exception, match="waits"), NoWaiting():
        float(torch.ones(1))  # as a frame would that waits


@contextmanager
def no_memory(device: str) -> Iterator[None]:
    """Leave nothing to allocate: by the share of the device that this process may use, or by refusing new tensors."""
    if device == "cpu":
        with LittleMemory(20):
            yield
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_session_survives_a_device_without_memory(name: str, device: str) -> None:
    network, results = build(name), []
    for fails in (False, True):
        session = VideoSession(network, device=device, size=None)
        session.step(VIDEO.frames[0], MASK)
        if fails:
            large = np.repeat(np.repeat(VIDEO.frames[1], 20, 0), 20, 1)
            other = VideoSession(network, device=device, size=None)
            with no_memory(device), pytest.raises(OutOfMemoryError):
                other.step(large, np.repeat(np.repeat(MASK, 20, 0), 20, 1))
        results.append(session.step(VIDEO.frames[1]).probabilities)
    torch.testing.assert_close(*results)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["rde", "stcn"])
def test_a_compiled_session_gives_the_same_labels(name: str) -> None:
    network = build(name)
    found = labels(network, "cuda", compile=True)
    assert (found != labels(network, "cpu")).mean() <= MOST_DIFFERENT["fp32"]


@pytest.mark.gpu
@pytest.mark.parametrize("top_k", [None, 20])
def test_a_read_can_be_captured_as_a_graph(top_k: int | None) -> None:
    from vos_zoo.memory import read_memory
    from vos_zoo.memory.benchmark import ReadCase, make_read

    inputs = make_read(ReadCase(4, top_k=top_k), device="cuda", dtype=torch.bfloat16)
    expected = read_memory(inputs.query_key, inputs.memory, top_k=top_k).values.clone()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        values = read_memory(inputs.query_key, inputs.memory, top_k=top_k).values
    values.zero_()
    graph.replay()
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_has_the_cpus_loss(name: str, device: str) -> None:
    losses = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        module = ARCHITECTURES[name].load_class("module")("tiny").to(place)
        module.log = lambda *_, **__: None
        module.train()
        batch = {
            key: part.to(place) if isinstance(part, torch.Tensor) else part for key, part in training_batch().items()
        }
        torch.manual_seed(0)
        loss = module.training_step(batch, 0)
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
