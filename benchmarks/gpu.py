"""Everything that only a CUDA device can tell, in one call of less than ten minutes.

    python benchmarks/gpu.py [--json benchmarks/results/gpu.json] [--long-frames 10000]

1. The tests marked ``gpu`` of the memory read.
2. The memory read at 30 × 54 queries, 64 key and 512 value channels, top-20, in bfloat16 and float32, at 1, 5, 20 and
   100 memory frames: time against the usual implementation, share of the floor, extra memory, error against float64.
3. The read of all tokens, forward and backward, by every implementation that serves it.
4. Whole frames at 480p: STCN and RDE with ResNet-50, one object, frames per second by stage, then a long video.

Without a CUDA device it says so, lists these steps and ends with success.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from session import build, moving_video, time_session

from vos_zoo.inference.optimize import optimize_network
from vos_zoo.inference.session import VideoSession
from vos_zoo.memory import MemoryTokens, read_memory
from vos_zoo.memory.benchmark import (
    MachineRates,
    ReadCase,
    describe_machine,
    make_read,
    measure_rates,
    measure_reads,
    read_textbook,
    time_in_turns,
)

MIB = 2**20
FRAMES = (1, 5, 20, 100)
TARGET_FRAMES = (20, 100)
LEAST_SPEED_UP, MOST_EXTRA, LEAST_SHARE_OF_FLOOR = 5.0, 64 * MIB, 0.5  # at 20 and 100 frames in bfloat16
LEAST_FRAME_RATE = 100.0  # STCN and RDE with ResNet-50 at 480p, one object
LONG_SECONDS = 150.0  # a long video stops here, whatever it reached
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long-frames", type=int, default=10_000)
    parser.add_argument("--precision", default="bf16", help="of whole frames")
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA device: nothing was measured. With one, this script would run:\n")
        print((__doc__ or "").split("\n\n", 2)[2].rsplit("\n\n", 1)[0])
        return
    report: dict[str, Any] = {"machine": describe_machine("cuda"), "date": time.strftime("%Y-%m-%d")}
    print(report["machine"], "\n", flush=True)
    report["tests"] = run_tests()
    report["reads"] = [row for dtype in (torch.bfloat16, torch.float32) for row in measure_top_k(dtype)]
    report["all_tokens"] = [row for dtype in (torch.bfloat16, torch.float32) for row in measure_all_tokens(dtype)]
    report["sessions"] = [measure_session(model, arguments.precision) for model in ("stcn", "rde")]
    report["long"] = measure_long("rde", arguments.precision, arguments.long_frames)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written: {arguments.json}", file=sys.stderr)


def run_tests() -> str:
    """Run the tests that need a GPU and return their last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/memory"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    summary = (result.stdout.strip().splitlines() or [result.stderr.strip()])[-1]
    print(f"tests: {summary}\n", flush=True)
    if result.returncode:
        print(result.stdout, result.stderr, flush=True)
    return summary


def measure_top_k(dtype: torch.dtype) -> list[dict[str, Any]]:
    """Print and return the table against the usual implementation."""
    rates = measure_rates(device="cuda", dtype=dtype)
    print(
        f"{dtype}: matrix {rates.matrix / 1e12:.0f}, thin matrix {rates.thin_matrix / 1e12:.0f} TFLOP/s; "
        f"copy {rates.copy / 1e12:.2f} TB/s"
    )
    print(
        f"{'frames':>6}{'objects':>8} {'backend':<8}{'ours ms':>9}{'usual ms':>10}{'ratio':>7}{'extra MiB':>11}"
        f"{'usual':>8}{'error':>9}{'floor ms':>10}{'share':>7}  targets"
    )
    rows = []
    for case in [*(ReadCase(frames) for frames in FRAMES), ReadCase(20, objects=5)]:
        (timing,) = measure_reads([case], rates, device="cuda", dtype=dtype, rounds=7)
        # A GPU computes and copies at the same time: its floor is the larger part, not the sum.
        floor = max(parts_of_floor(rates, case, dtype))
        timing = dataclasses.replace(timing, floor_seconds=floor)
        extra, usual = extra_bytes(case, dtype, "ours"), extra_bytes(case, dtype, "textbook")
        assert timing.textbook_seconds is not None
        assert timing.speed_up is not None
        verdict = ""
        if case.frames in TARGET_FRAMES and case.objects == 1 and dtype == torch.bfloat16:
            met = {
                f"{LEAST_SPEED_UP:.0f}×": timing.speed_up >= LEAST_SPEED_UP,
                f"{MOST_EXTRA // MIB} MiB": extra <= MOST_EXTRA,
                f"{LEAST_SHARE_OF_FLOOR:.0%} of floor": timing.share_of_floor >= LEAST_SHARE_OF_FLOOR,
            }
            verdict = ", ".join(f"{name} {'met' if is_met else 'missed'}" for name, is_met in met.items())
        print(
            f"{case.frames:>6}{case.objects:>8} {timing.backend:<8}{1e3 * timing.seconds:>9.3f}"
            f"{1e3 * timing.textbook_seconds:>10.3f}{timing.speed_up:>7.1f}{extra / MIB:>11.1f}{usual / MIB:>8.1f}"
            f"{timing.error:>9.0e}{1e3 * floor:>10.4f}{timing.share_of_floor:>7.0%}  {verdict}",
            flush=True,
        )
        rows.append(
            {
                **dataclasses.asdict(timing),
                "dtype": str(dtype),
                "speed_up": timing.speed_up,
                "share_of_floor": timing.share_of_floor,
                "extra_bytes": extra,
                "textbook_extra_bytes": usual,
            }
        )
    print()
    return rows


def parts_of_floor(rates: MachineRates, case: ReadCase, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds of the similarities at the best matrix rate, and of reading and writing once at the copy rate."""
    itemsize = torch.finfo(dtype).bits // 8
    matrix = 2 * case.queries * case.tokens * case.key_dim / max(rates.matrix, rates.thin_matrix, rates.convolution)
    return matrix, rates.floor(case, itemsize) - matrix


@torch.inference_mode()
def extra_bytes(case: ReadCase, dtype: torch.dtype, implementation: str) -> int:
    """Return the peak of torch's memory during one read, less what was there before and the result."""
    inputs = make_read(case, device="cuda", dtype=dtype)
    layout = inputs.textbook_layout()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    if implementation == "ours":
        result = read_memory(inputs.query_key, inputs.memory, top_k=case.top_k).values
    else:
        result = read_textbook(*layout, case.top_k)
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before - result.numel() * result.element_size())


def measure_all_tokens(dtype: torch.dtype) -> list[dict[str, Any]]:
    """Time the read of all tokens, forward alone at 480p and forward with backward at a training size."""
    rows = []
    print(f"{dtype}, all tokens{'':<24}{'backend':<10}{'forward ms':>12}{'and backward':>14}")
    cases = {
        "480p, 5 frames": (1, 30, 54, 5),
        "480p, 20 frames": (1, 30, 54, 20),
        "training, 16 clips, 2 frames": (16, 24, 24, 2),
    }
    for name, (batch, height, width, frames) in cases.items():
        case = ReadCase(frames, grid=(height, width), top_k=None)
        inputs = make_read(case, device="cuda", dtype=dtype)
        memory = inputs.memory
        assert memory.bias is not None
        query = inputs.query_key.repeat(batch, 1, 1, 1).requires_grad_()
        keys, values = (part.repeat(batch, 1, 1).requires_grad_() for part in (memory.keys, memory.values))
        tokens = MemoryTokens(keys, memory.bias.repeat(batch, 1), values, memory.scale)
        for backend in ("reference", "cpu", "sdpa", "triton"):

            def forward(backend: str = backend, query: Any = query, tokens: MemoryTokens = tokens) -> None:
                with torch.no_grad():
                    read_memory(query, tokens, backend=backend)

            def both(backend: str = backend, query: Any = query, tokens: MemoryTokens = tokens) -> None:
                read_memory(query, tokens, backend=backend).values.sum().backward()

            contenders = [forward, both] if batch > 1 else [forward]
            times = [min(seconds) for seconds in time_in_turns(contenders, rounds=3, device="cuda")]
            both_ms = f"{1e3 * times[1]:>14.3f}" if batch > 1 else ""
            print(f"{name:<40}{backend:<10}{1e3 * times[0]:>12.3f}{both_ms}", flush=True)
            rows.append({"case": name, "dtype": str(dtype), "backend": backend, "seconds": times})
    print()
    return rows


def measure_session(model: str, precision: str) -> dict[str, Any]:
    """Time whole frames of a network with random weights."""
    network = optimize_network(build(model, "r50").to("cuda"))
    row = time_session(network, 1, 60, precision=precision)
    rate = row["frames_per_second"]
    verdict = "met" if rate >= LEAST_FRAME_RATE else "missed"
    stages = ", ".join(f"{stage} {milliseconds:.2f} ms" for stage, milliseconds in row["ms"].items())
    print(f"{model} r50, {precision}: {rate:.0f} frames/s ({LEAST_FRAME_RATE:.0f} {verdict}); {stages}", flush=True)
    return {"model": model, "precision": precision, **row}


def measure_long(model: str, precision: str, frames: int) -> dict[str, Any]:
    """Feed one video for long, and print frame rate and memory as it goes on."""
    network = optimize_network(build(model, "r50").to("cuda"))
    session = VideoSession(network, precision=precision, optimize=False)
    (image,), mask = moving_video(1, 1)
    marks: list[dict[str, float]] = []
    begin = start = time.perf_counter()
    for index in range(frames):
        session.step(np.roll(image, 3 * index, axis=1), mask if index == 0 else None)
        if (index + 1) % 500 == 0:
            torch.cuda.synchronize()
            now = time.perf_counter()
            marks.append(
                {
                    "frame": index + 1,
                    "frames_per_second": 500 / (now - start),
                    "peak_bytes": torch.cuda.max_memory_allocated(),
                    "bank_bytes": session.memory_bytes,
                }
            )
            start = now
            if now - begin > LONG_SECONDS:
                break
    rates = [mark["frames_per_second"] for mark in marks]
    if marks:
        print(
            f"{model} r50, {marks[-1]['frame']:.0f} frames: {rates[0]:.0f} frames/s at first, {rates[-1]:.0f} at last; "
            f"peak {marks[0]['peak_bytes'] / MIB:.0f} MiB at first, {marks[-1]['peak_bytes'] / MIB:.0f} MiB at last",
            flush=True,
        )
    return {"model": model, "precision": precision, "marks": marks}


if __name__ == "__main__":
    main()
