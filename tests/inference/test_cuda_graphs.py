"""Recording and replaying, with stand-ins for CUDA's graphs and for CUDA itself; with a device below.

That sessions of every model have the same results is in ``ModelTester``.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vos_zoo.inference import cuda_graphs
from vos_zoo.inference.cuda_graphs import CudaRecorder, Graphs, why_no_graphs
from vos_zoo.inference.session import VideoSession
from vos_zoo.registry import ARCHITECTURES
from vos_zoo.testing.clips import VIDEO, relabel
from vos_zoo.testing.replayed_calls import ReplayedCalls


def double_and_pass_on(numbers: torch.Tensor, parts: dict[str, torch.Tensor], *, factor: int) -> dict[str, Any]:
    return {"more": (numbers * factor, None), "same": parts["same"]}


def test_a_part_is_replayed_from_the_fifth_call_on_and_its_results_are_the_callers() -> None:
    recorder = ReplayedCalls()
    graphs = Graphs(recorder)
    part = graphs.wrap("part", double_and_pass_on)
    with torch.inference_mode():
        kept = []
        for number in range(8):
            assert graphs.states == {"part": "replayed" if number >= 4 else "not yet"}
            same = torch.full((2,), float(number))
            result = part(torch.full((3,), float(number)), {"same": same}, factor=2)
            assert result["same"] is same
            kept.append(result["more"])
        assert (recorder.recorded, recorder.replayed) == (1, 5)  # once for the comparison
        assert [first.tolist() for first, _ in kept] == [[2.0 * number] * 3 for number in range(8)]
        assert {second for _, second in kept} == {None}


def test_sizes_types_and_constants_have_recordings_of_their_own_and_few_of_them_stay() -> None:
    recorder = ReplayedCalls()
    part = Graphs(recorder).wrap("part", lambda numbers, factor: numbers * factor)
    with torch.inference_mode():
        for numbers in (torch.ones(2), torch.ones(3), torch.ones(3).half()):
            for factor in (1, 1.0, True):
                for _ in range(6):
                    assert torch.equal(part(numbers, factor), numbers * factor)
        assert recorder.recorded == 9
        part(torch.ones(3).half(), True)
        assert recorder.recorded == 9  # still there
        for _ in range(3):
            part(torch.ones(2), 1)
        assert recorder.recorded == 10  # forgotten, and recorded again


def test_outside_of_inference_mode_nothing_is_recorded() -> None:
    recorder = ReplayedCalls()
    layer = nn.Linear(3, 2)
    part = Graphs(recorder).wrap("part", layer.forward)
    for _ in range(6):
        part(torch.ones(1, 3)).sum().backward()
    assert recorder.recorded == 0
    assert layer.weight.grad is not None


@pytest.mark.parametrize("fails", ["recording", "numbers", "argument"])
def test_what_cannot_be_replayed_runs_as_before_and_says_why_once(fails: str, caplog: pytest.LogCaptureFixture) -> None:
    recorder = ReplayedCalls(1 if fails == "recording" else None)
    graphs, number = Graphs(recorder), 0

    def add(numbers: torch.Tensor, extra: object) -> torch.Tensor:
        # A number of Python that changes from call to call would stand still in a graph, unlike in the stand-in, which
        # is hence made wrong by a call too many.
        nonlocal number
        number += 1
        return numbers + (number if fails == "numbers" else 1)

    part = graphs.wrap("add", add)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        for call in range(1, 8):
            result = part(torch.zeros(2), object() if fails == "argument" else None)
            if fails != "numbers":
                assert result.tolist() == [1, 1], call
    reason = {
        "recording": "operation not permitted when stream is capturing",
        "numbers": "its recording gave other numbers than its operations",
        "argument": "it takes or gives a object, which is no tensor",
    }[fails]
    assert graphs.states == {"add": reason}
    assert [record.getMessage() for record in caplog.records] == [f"add runs without a CUDA graph: {reason}."]


def test_released_recordings_are_gone_for_good() -> None:
    recorder = ReplayedCalls()
    graphs = Graphs(recorder)
    part = graphs.wrap("part", lambda numbers: numbers + 1)
    with torch.inference_mode():
        for _ in range(6):
            part(torch.ones(2))
        graphs.release("the device ran out of memory")
        before = recorder.replayed
        for _ in range(6):
            assert part(torch.ones(2)).tolist() == [2, 2]
    assert (recorder.recorded, recorder.replayed) == (1, before)
    assert graphs.states == {"part": "the device ran out of memory"}


class Cuda:
    """Stands for ``torch.cuda``: writes down what it is told, and knows which stream and device are current."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[str] = []
        self.streams, self.device_index, self.pools = ["main"], 0, 0
        owner = self

        class Stream:
            def __init__(self, name: Any) -> None:
                self.name = name if isinstance(name, str) else f"side of {name}"

            def wait_stream(self, other: Stream) -> None:
                owner.notes.append(f"{self.name} waits for {other.name}")

        class Graph:
            def capture_begin(self, pool: int, capture_error_mode: str) -> None:
                assert capture_error_mode == "thread_local"
                assert not gc.isenabled()
                assert not torch.is_autocast_cache_enabled()
                owner.notes.append(f"begin in pool {pool} on {owner.streams[-1]} of {owner.device_index}")

            def capture_end(self) -> None:
                owner.notes.append("end")

            def replay(self) -> None:
                owner.notes.append("replay")

        @contextmanager
        def on_stream(stream: Stream) -> Iterator[None]:
            owner.streams.append(stream.name)
            try:
                yield
            finally:
                owner.streams.pop()

        @contextmanager
        def on_device(device: torch.device) -> Iterator[None]:
            before, owner.device_index = owner.device_index, device.index
            try:
                yield
            finally:
                owner.device_index = before

        def new_pool() -> int:
            owner.pools += 1
            return owner.pools

        for name, stand_in in {
            "Stream": Stream, "CUDAGraph": Graph, "stream": on_stream, "device": on_device,
            "graph_pool_handle": new_pool, "synchronize": lambda: None,
            "current_stream": lambda: Stream(owner.streams[-1]),
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, stand_in)
        monkeypatch.setattr(cuda_graphs, "_side_stream", Stream)


def test_a_recording_is_made_on_a_stream_of_the_right_device_and_leaves_all_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = Cuda(monkeypatch)
    recorder = CudaRecorder(torch.device("cuda", 1))
    calls: list[tuple[str, int]] = []

    def call() -> torch.Tensor:
        calls.append((cuda.streams[-1], cuda.device_index))
        return torch.ones(1)

    replay, result = recorder.record(call)
    replay()
    assert result.tolist() == [1]
    assert calls == [("side of cuda:1", 1)] * 2  # the first for what libraries set up
    assert cuda.notes == [
        "side of cuda:1 waits for main", "begin in pool 1 on side of cuda:1 of 1", "end",
        "main waits for side of cuda:1", "replay",
    ]  # fmt: skip
    assert (cuda.streams, cuda.device_index) == (["main"], 0)
    assert gc.isenabled()
    assert torch.is_autocast_cache_enabled()


def test_a_recording_that_fails_is_ended_and_its_pool_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch)
    recorder = CudaRecorder(torch.device("cuda", 0))

    def call() -> None:
        if cuda.notes[-1].startswith("begin"):
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        recorder.record(call)
    assert cuda.notes[-2:] == ["end", "main waits for side of cuda:0"]
    assert (cuda.streams, cuda.device_index) == (["main"], 0)
    assert gc.isenabled()
    assert torch.is_autocast_cache_enabled()
    recorder.record(lambda: None)
    assert "begin in pool 2 on side of cuda:0 of 0" in cuda.notes


def build(name: str) -> Any:
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    return architecture.load_class("network")(architecture.new_config("tiny")).eval()


def labels(network: Any, **options: Any) -> tuple[VideoSession, np.ndarray, list[torch.Tensor]]:
    """Segment a clip in which objects join, are corrected and go."""
    session = VideoSession(network, size=None, **options)
    masks = {0: relabel(VIDEO.masks[0], (1, 2)), 7: relabel(VIDEO.masks[7 % len(VIDEO.frames)], (0, 2, 3))}
    results = []
    for index in range(24):
        if index == 15:
            session.remove(1)
        results.append(session.step(VIDEO.frames[index % len(VIDEO.frames)], masks.get(index)))
    return session, np.stack([result.mask for result in results]), [result.probabilities for result in results]


def test_the_original_is_left_as_it_is_and_the_copy_goes_with_its_session() -> None:
    network = build("rde")
    copied = Graphs(ReplayedCalls()).replaying(network)
    assert "encode" in vars(copied)
    assert not {"encode", "forward"} & (vars(network).keys() | vars(network.decoder).keys())
    assert all(part is other for part, other in zip(network.parameters(), copied.parameters(), strict=True))
    gone = weakref.ref(copied)
    gc.disable()
    try:
        del copied
        assert gone() is None  # no circle would keep a device's memory until the collector runs
    finally:
        gc.enable()


def test_a_session_goes_at_once_with_all_that_it_holds() -> None:
    session, _, _ = labels(build("stcn"))
    gone = [weakref.ref(session), weakref.ref(session._memory), weakref.ref(session.network)]
    gc.collect()
    gc.disable()
    try:
        del session
        assert [reference() for reference in gone] == [None, None, None]
    finally:
        gc.enable()


def test_no_graphs_on_a_cpu() -> None:
    session = VideoSession(build("rde"))
    assert session.graph_states == {}
    assert not session.works_ahead


@pytest.mark.gpu
def test_a_device_records_and_replays() -> None:
    assert why_no_graphs(torch.device("cuda", 0)) is None


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_graphs_of_a_device_give_what_its_operations_give(name: str, precision: str) -> None:
    network = build(name)
    _, expected, _ = labels(network, device="cuda", precision=precision, graphs=False)
    session, found, _ = labels(network, device="cuda", precision=precision)
    assert (found != expected).mean() < 1e-3
    states = session.graph_states
    assert {"normalise", "decide", "encode"} <= states.keys()
    assert set(states.values()) == {"replayed"}, states


@pytest.mark.gpu
def test_what_waits_for_the_device_is_not_recorded() -> None:
    graphs = Graphs(CudaRecorder(torch.device("cuda", 0)))
    waits = graphs.wrap("waits", lambda numbers: numbers * float(numbers.sum()))
    works = graphs.wrap("works", lambda numbers: numbers * numbers.sum())
    with torch.inference_mode():
        for number in range(8):
            numbers = torch.full((3,), float(number), device="cuda")
            for part in (waits, works):
                assert part(numbers).tolist() == [3.0 * number * number] * 3
    assert graphs.states["works"] == "replayed"
    assert graphs.states["waits"] not in ("replayed", "not yet")


@pytest.mark.gpu
def test_a_sessions_graphs_give_their_memory_back() -> None:
    network = build("stcn").cuda()
    labels(network)  # what libraries keep
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    session = labels(network)[0]
    assert torch.cuda.memory_allocated() > before
    del session
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before
