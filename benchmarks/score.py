"""Score models and both baselines on annotated clips in the DAVIS layout, side by side.

    python benchmarks/score.py ROOT --models rde stcn --backbone resnet18.safetensors --json scores.json

ROOT holds JPEGImages/480p/<clip> and Annotations/480p/<clip>. Objects are given on the frame where they first appear.
Masks are written to a folder and measured by ``vos_zoo.evaluate``, as ``vos-zoo evaluate`` does. A JSON file that is
there already keeps the methods that are not measured again; ``benchmarks/results_page.py`` makes a page of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from baselines import FeaturePropagation, ModelPropagator, Propagator, RepeatFirstMask, read_frame

from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.metrics import evaluate
from vos_zoo.models.load import load_model

if TYPE_CHECKING:
    from collections.abc import Callable


def run_clip(propagator: Propagator, root: Path, clip: str, out: Path) -> tuple[float, int]:
    """Write the masks of one clip; return frames per second and the bytes of memory after the last frame."""
    known: set[int] = set()
    seconds = 0.0
    frames = sorted((root / "JPEGImages" / "480p" / clip).iterdir())
    for path in frames:
        annotation = read_mask(root / "Annotations" / "480p" / clip / f"{path.stem}.png")
        new = [i for i in np.unique(annotation) if i != 0 and int(i) not in known]
        known.update(int(i) for i in new)
        mask = np.where(np.isin(annotation, new), annotation, 0).astype(np.int32) if new else None
        frame = read_frame(path)
        start = time.perf_counter()
        result = propagator.step(frame, mask)
        seconds += time.perf_counter() - start
        (out / clip).mkdir(parents=True, exist_ok=True)
        write_mask(out / clip / f"{path.stem}.png", result)
    return len(frames) / seconds, propagator.memory_bytes


def score(make: Callable[[], Propagator], root: Path, clips: list[str]) -> dict[str, object]:
    """Segment all clips and evaluate them."""
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            costs[clip] = run_clip(make(), root, clip, Path(folder))
            print(f"  {clip}: {costs[clip][0]:.2f} frames/s", file=sys.stderr, flush=True)
        report = evaluate(folder, root / "Annotations" / "480p", protocol="davis2017", sequences=clips)
    rows = {
        row.name: {
            "J": row.region,
            "F": row.boundary,
            "J&F": row.j_and_f,
            "objects": row.objects,
            "frames_per_second": costs[row.name][0],
            "memory_bytes": costs[row.name][1],
        }
        for row in report.sequences
    }
    return {
        "J&F over objects": report.j_and_f,
        "J over objects": report.region.mean,
        "F over objects": report.boundary.mean,
        "J&F over clips": float(np.mean([row["J&F"] for row in rows.values()])),
        "clips": rows,
    }


def main() -> None:
    """Print one column per method and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--models", nargs="*", default=[], help="names or folders for load_model")
    parser.add_argument("--size", type=int, default=480, help="short side in pixels for propagation")
    parser.add_argument("--backbone", type=Path, help="ResNet-18 weights; adds training-free propagation")
    parser.add_argument("--baselines", action="store_true", help="add the repeated first mask")
    parser.add_argument("--clips", nargs="*", help="default: all")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    root: Path = arguments.root
    clips = arguments.clips or sorted(path.name for path in (root / "Annotations" / "480p").iterdir())
    methods: dict[str, Callable[[], Propagator]] = {}
    if arguments.baselines:
        methods["repeat first mask"] = RepeatFirstMask
    if arguments.backbone:
        methods["training-free propagation"] = lambda: FeaturePropagation(arguments.backbone, arguments.size)
    for name in arguments.models:
        model = load_model(name)
        methods[name] = lambda model=model: ModelPropagator(model, "native")  # type: ignore[misc]
    results = {}
    for name, make in methods.items():
        print(name, file=sys.stderr, flush=True)
        results[name] = score(make, root, clips)
    print(f"{'J&F in %':<26}" + "".join(f"{name[-24:]:>26}" for name in results))
    for clip in clips:
        print(f"{clip:<26}" + "".join(f"{100 * r['clips'][clip]['J&F']:>26.1f}" for r in results.values()))  # type: ignore[index]
    for mean in ("J&F over clips", "J&F over objects", "J over objects", "F over objects"):
        print(f"{mean:<26}" + "".join(f"{100 * r[mean]:>26.1f}" for r in results.values()))  # type: ignore[operator]
    if arguments.json:
        kept = json.loads(arguments.json.read_text())["results"] if arguments.json.exists() else {}
        record = {
            "size": arguments.size,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "results": kept | results,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
