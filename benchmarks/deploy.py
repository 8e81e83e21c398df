"""Time sessions with and without PyTorch side by side: seconds per frame, peak memory, bytes on the disk.

Each kind of session runs in a process of its own, in turn, so that the load of the machine meets all of them; medians
are over all rounds. Examples:

    python benchmarks/deploy.py --model rde.small --out deploy.json
    python benchmarks/deploy.py --size 240 --frames 4 --rounds 1 --kinds torch onnx-fp32
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("torch", "torch-bf16", "onnx-fp32", "onnx-fp16", "onnx-int8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="rde.small")
    parser.add_argument("--size", type=int, default=480, help="short side in pixels (default: 480)")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--frames", type=int, default=10, help="frames per round (default: 10)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--graphs", type=Path, help="folder with exports from an earlier call, or for a later one")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments, *arguments.worker)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.graphs or Path(temporary)
        packages = export_all(arguments, place)
        rows = measure(arguments, place)
    for row in rows:
        row["package_bytes"] = packages.get(row["kind"])
        print(
            f"{row['kind']:>10}  {row['objects']} objects  {1000 * row['seconds']:8.0f} ms/frame  "
            f"{row['relative']:5.2f} x torch  peak {row['peak_bytes'] / 2**20:6.0f} MiB  "
            f"on disk {(row['package_bytes'] or 0) / 2**20:6.1f} MiB"
        )
    if arguments.out is not None:
        about = {"machine": platform.processor() or platform.machine(), "threads": arguments.threads}
        content = {**about, "model": arguments.model, "size": arguments.size, "rows": rows}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def export_all(arguments: argparse.Namespace, place: Path) -> dict[str, int]:
    from vos_zoo.deployment.export import export_model
    from vos_zoo.runtime import read_manifest

    packages = {}
    for kind in arguments.kinds:
        name, _, precision = kind.partition("-")
        if name == "onnx":
            folder = place / kind
            if not (folder / "session.json").exists():
                export_model(arguments.model, folder, precision=precision)
            packages[kind] = read_manifest(folder).num_bytes
    return packages


def open_session(kind: str, model: str, graphs: Path, *, size: int | str, threads: int) -> Any:
    """Open a session of a kind; those of ONNX Runtime find their graphs in a folder of the kind's name."""
    name, _, precision = kind.partition("-")
    if name == "torch":
        from vos_zoo import VideoSession

        return VideoSession(model, device="cpu", size=size, precision=precision or "fp32")
    from vos_zoo.runtime import GraphSession

    return GraphSession(graphs / kind, size=size, threads=threads)


def measure(arguments: argparse.Namespace, place: Path) -> list[dict]:
    rows = []
    for objects in arguments.objects:
        seconds: dict[str, list[float]] = {kind: [] for kind in arguments.kinds}
        peaks = dict.fromkeys(arguments.kinds, 0)
        for _ in range(arguments.rounds):
            for kind in arguments.kinds:
                options = ["--size", str(arguments.size), "--frames", str(arguments.frames), "--model", arguments.model]
                options += ["--threads", str(arguments.threads), "--graphs", str(place)]
                command = [sys.executable, __file__, *options, "--worker", kind, str(objects)]
                environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
                result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                found = json.loads(result.stdout.splitlines()[-1])
                seconds[kind] += found["seconds"]
                peaks[kind] = max(peaks[kind], found["peak_bytes"])
        base = statistics.median(seconds[arguments.kinds[0]])
        for kind in arguments.kinds:
            median = statistics.median(seconds[kind])
            rows.append(
                {
                    "kind": kind,
                    "objects": objects,
                    "seconds": median,
                    "relative": median / base,
                    "peak_bytes": peaks[kind],
                }
            )
    return rows


def work(arguments: argparse.Namespace, kind: str, objects: str) -> int:
    """Run one session and print what it took."""
    height, width = arguments.size, round(arguments.size * 16 / 9)
    rng, count = np.random.default_rng(0), int(objects)
    frames = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for index in range(count):
        left = index * width // count
        mask[height // 4 : height // 2, left + width // (4 * count) : left + width // (2 * count)] = index + 1
    session = open_session(kind, arguments.model, arguments.graphs, size=arguments.size, threads=arguments.threads)
    seconds = []
    for number in range(arguments.frames + 2):
        begin = time.perf_counter()
        session.step(frames[number % 2], mask if number == 0 else None)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds[2:], "peak_bytes": peak}))  # the first two frames warm up
    return 0


if __name__ == "__main__":
    sys.exit(main())
