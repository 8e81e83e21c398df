"""Measure how long it takes to get to the first frame, beside importing torch alone.

    python benchmarks/startup.py

Each contender runs in a process of its own, in turns, on one thread: processor seconds (user and system) of the whole
process, medians. "session" imports the package, loads a weight and makes a session; "first frame" also segments one
small frame; "segment" is the command `vos-zoo segment` on a video of two small frames. The last column lists the heavy
packages that were loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "startup.json"
HEAVY = ("pytorch_lightning", "albumentations", "timm", "torchvision", "torch._dynamo")

_SESSION = """
from vos_zoo import VideoSession
from vos_zoo.weights import load_network
session = VideoSession(load_network({model!r}))
"""
_FRAME = """
import numpy as np
mask = np.zeros((96, 128), np.int32)
mask[20:60, 30:90] = 1
session.step(np.zeros((96, 128, 3), np.uint8), mask)
"""
_SEGMENT = """
import sys
from vos_zoo.cli.main import main
assert main(["segment", {frames!r}, {mask!r}, "--out", {out!r}, "--overwrite", "--model", {model!r}]) == 0
"""
_LIST = f"\nimport sys\nprint('heavy', *[name for name in {HEAVY!r} if name in sys.modules])\n"


def processor_seconds(program: str) -> tuple[float, list[str]]:
    """Run a program in a process of its own; its processor seconds and the heavy packages that it loaded."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-c", program + _LIST],
        env={**os.environ, "OMP_NUM_THREADS": "1", "VOS_ZOO_MEMORY_BACKEND": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = next(line for line in result.stdout.splitlines() if line.startswith("heavy")).split()[1:]
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, loaded


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", default="rde")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        _write_clip(Path(place))
        names = {"frames": f"{place}/frames", "mask": f"{place}/mask.png", "out": f"{place}/out"}
        session = _SESSION.format(model=options.model)
        contenders = {
            "import torch": "import torch",
            "session": session,
            "first frame": session + _FRAME,
            "segment": _SEGMENT.format(model=options.model, **names),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        loaded: dict[str, list[str]] = {}
        for turn in range(options.rounds + 1):
            for name, program in contenders.items():
                spent, loaded[name] = processor_seconds(program)
                if turn:  # the first turn warms the disk's cache
                    seconds[name].append(spent)
    base = statistics.median(seconds["import torch"])
    rows = {
        name: {
            "seconds": round(statistics.median(values), 2),
            "of torch": round(statistics.median(values) / base, 2),
            "heavy": loaded[name],
        }
        for name, values in seconds.items()
    }
    for name, row in rows.items():
        print(f"{name:14} {row['seconds']:6.2f} s  {row['of torch']:5.2f} x torch  {' '.join(row['heavy'])}")
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def _write_clip(place: Path) -> None:
    import numpy as np
    from PIL import Image

    (place / "frames").mkdir()
    for index in range(2):
        Image.fromarray(np.full((96, 128, 3), 90 * index, np.uint8)).save(place / "frames" / f"{index:05d}.png")
    mask = np.zeros((96, 128), np.uint8)
    mask[20:60, 30:90] = 1
    Image.fromarray(mask).save(place / "mask.png")


if __name__ == "__main__":
    raise SystemExit(main())
