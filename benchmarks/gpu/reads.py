"""Time the memory read at 1, 4, 20 and 100 frames: as it is called, as a CUDA graph, and program by program.

Numbers are random: equal ones would make every group tie and run through other branches.
"""

from __future__ import annotations

from typing import Any

import torch
from common import Run, compilations

from vos_zoo.memory import choose_backend, read_memory
from vos_zoo.memory.benchmark import ReadCase, make_read, measure_rates, read_textbook

SECONDS = 100.0
FRAMES = (1, 4, 20, 100)


def measure(run: Run) -> None:
    """Write one row for each size, type, number of objects and implementation."""
    grid = (6, 10) if run.is_dry else (30, 54)
    rates = measure_rates(device=run.device, rounds=1 if run.is_dry else 5, side=256 if run.is_dry else None)
    for frames in FRAMES[:2] if run.is_dry else FRAMES:
        for dtype in (torch.bfloat16, torch.float32):
            for objects, top_k in ((1, 20), (5, 20), (1, None)):
                if run.is_over:
                    return
                case = ReadCase(frames, objects=objects, grid=grid, top_k=top_k)
                inputs = make_read(case, device=run.device, dtype=dtype)
                measure_case(run, case, inputs, rates.copy)


@torch.inference_mode()
def measure_case(run: Run, case: ReadCase, inputs: Any, copy_rate: float) -> None:
    """Time one read by the implementation that is chosen for it."""
    query, memory, dtype = inputs.query_key, inputs.memory, inputs.query_key.dtype

    def read() -> torch.Tensor:
        return read_memory(query, memory, top_k=case.top_k).values

    with compilations() as compiled:
        read()
        run.synchronize()
        at_first = len(compiled)
        run.reset_peak()
        seconds = run.median_seconds(read)
    row_bytes = memory.values.shape[2] * memory.values.element_size()
    gathered = memory.values.nbytes if case.top_k is None else case.queries * case.top_k * row_bytes
    floor = (memory.keys.nbytes + query.nbytes + min(gathered, memory.values.nbytes) + read().nbytes) / copy_rate
    layout = inputs.textbook_layout()
    usual = run.median_seconds(lambda: read_textbook(*layout, case.top_k))
    run.row(
        frames=case.frames, objects=case.objects, top_k=case.top_k, dtype=str(dtype),
        backend=choose_backend(query, memory, case.top_k).name, seconds=seconds, graph_seconds=graph_seconds(run, read),
        usual_seconds=usual, floor_seconds=floor, peak_bytes=run.peak_bytes(),
        compiled=at_first, compiled_while_timed=len(compiled) - at_first, programs=program_seconds(run, read),
    )  # fmt: skip


def graph_seconds(run: Run, call: Any) -> float | None:
    """Time the replay of a CUDA graph of a call, without what launching costs the host; None without a device."""
    if run.device.type != "cuda":
        return None
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        call()
    return run.median_seconds(graph.replay)


def program_seconds(run: Run, call: Any) -> dict[str, float] | None:
    """Return the device's seconds in each program of one call; None without a device."""
    if run.device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    return {event.key: event.device_time_total * 1e-6 for event in profile.key_averages() if event.device_time_total}
