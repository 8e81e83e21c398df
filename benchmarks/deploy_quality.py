"""Score exported graphs beside the session that they come from, on annotated clips in the DAVIS layout.

    python benchmarks/deploy_quality.py ROOT --graphs exports --out benchmarks/results/deploy_quality.json

ROOT holds JPEGImages/480p/<clip> and Annotations/480p/<clip>; objects are given on the frame where they first appear.
Every kind of session segments every clip. Reported are J&F, and how far probabilities and labels are from those of the
first kind on the same frame. Graphs are exported to the folder ``exports`` unless it has them; those in 8 bits are
calibrated on the bundled clip, which is none of these. A JSON file keeps the kinds and clips that it has already.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from baselines import read_frame
from deploy import KINDS, export_all, open_session

from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.metrics import evaluate


def segment(session: Any, root: Path, clip: str) -> Any:
    """Yield the frame's name and the result of every frame of a clip."""
    known: set[int] = set()
    for path in sorted((root / "JPEGImages" / "480p" / clip).iterdir()):
        annotation = read_mask(root / "Annotations" / "480p" / clip / f"{path.stem}.png")
        new = [number for number in np.unique(annotation) if number != 0 and int(number) not in known]
        known.update(int(number) for number in new)
        mask = np.where(np.isin(annotation, new), annotation, 0).astype(np.int32) if new else None
        yield path.stem, session.step(read_frame(path), mask)


def compare(kinds: list[str], root: Path, clip: str, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Segment a clip with every kind of session, side by side."""
    runs = [
        segment(open_session(kind, arguments.model, arguments.graphs, size="native", threads=1), root, clip)
        for kind in kinds
    ]
    largest, other, pixels = np.zeros(len(kinds)), np.zeros(len(kinds), int), 0
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        for results in zip(*runs, strict=True):
            exact = np.asarray(results[0][1].probabilities)
            pixels += results[0][1].mask.size
            for index, (kind, (name, result)) in enumerate(zip(kinds, results, strict=True)):
                out = Path(place) / kind / clip / f"{name}.png"
                out.parent.mkdir(parents=True, exist_ok=True)
                write_mask(out, result.mask)
                largest[index] = max(largest[index], float(np.abs(np.asarray(result.probabilities) - exact).max()))
                other[index] += int((result.mask != results[0][1].mask).sum())
        for index, kind in enumerate(kinds):
            report = evaluate(Path(place) / kind, root / "Annotations" / "480p", protocol="davis2017", sequences=[clip])
            (row,) = report.sequences
            rows[kind] = {
                "J&F": row.j_and_f,
                "objects": row.objects,
                "largest difference of probabilities": float(largest[index]),
                "share of other labels": float(other[index] / pixels),
            }
    return rows


def summary(clips: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means and largest values over clips."""
    scores, objects = ([row[name] for row in clips.values()] for name in ("J&F", "objects"))
    return {
        "J&F over clips": float(np.mean(scores)),
        "J&F over objects": float(np.average(scores, weights=objects)),
        "largest difference of probabilities": max(r["largest difference of probabilities"] for r in clips.values()),
        "largest share of other labels": max(row["share of other labels"] for row in clips.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="rde.small")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--clips", nargs="*", help="default: all")
    parser.add_argument("--graphs", type=Path, required=True, help="folder with exports, or for them")
    parser.add_argument("--out", type=Path, help="JSON file to write, or to add to")
    arguments = parser.parse_args()
    clips = arguments.clips or sorted(path.name for path in (arguments.root / "Annotations" / "480p").iterdir())
    export_all(arguments, arguments.graphs)
    content = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {}
    of_model: dict[str, Any] = content.setdefault(arguments.model, {})
    for clip in clips:
        print(clip, file=sys.stderr, flush=True)
        for kind, row in compare(arguments.kinds, arguments.root, clip, arguments).items():
            of_kind = of_model.setdefault(kind, {"clips": {}})
            of_kind["clips"][clip] = row
            of_kind.update(summary(of_kind["clips"]))
        if arguments.out is not None:  # after every clip, since all of them take long
            arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    for kind, row in of_model.items():
        print(
            f"{kind:>10}  {len(row['clips'])} clips: J&F {100 * row['J&F over clips']:5.2f} over clips, "
            f"{100 * row['J&F over objects']:5.2f} over objects; probabilities differ by "
            f"{row['largest difference of probabilities']:.1e} at most, labels in "
            f"{100 * row['largest share of other labels']:.3f} % of a clip's pixels at most"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
