"""Count how many bad masks `is_lost` flags on annotated clips, and how many good ones.

    python benchmarks/confidence.py --clips CLIPS --runs RUNS --out results/confidence.json

CLIPS is a root in DAVIS layout. Every object is given on the frame where it first appears. RUNS keeps the masks and
`objects.csv` of every clip, so that nothing is segmented twice. An object in a frame is bad if its J is below 50;
frames in which it was given are left out, and so are those in which it is neither there nor found. A missed object is
one that is there and has no pixel. Other thresholds are tried on the same tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from vos_zoo import load_model, read_mask, segment_video
from vos_zoo.segmentation import confidence

BAD = 0.5
COLLAPSED = (0.15, 0.25, 0.33, 0.5)
DOUBTFUL = (0.0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)

Rows = dict[tuple[str, int], list[confidence.ObjectRow]]


def first_masks(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Masks of the frames where objects first appear, with these objects alone, and all masks."""
    given, truth, seen = {}, {}, {0}
    for path in sorted(folder.glob("*.png")):
        truth[path.stem] = np.asarray(Image.open(path))
        new = sorted(set(np.unique(truth[path.stem]).tolist()) - seen)
        seen.update(new)
        if new:
            given[path.stem] = np.where(np.isin(truth[path.stem], new), truth[path.stem], 0)
    return given, truth


def measure(clips: Path, runs: Path, weight: str) -> tuple[Rows, dict[tuple[str, int, int], float]]:
    """Tables of all objects, and J of every object and frame in which it is there or found."""
    rows: Rows = defaultdict(list)
    scores = {}
    model = None
    for clip in sorted((clips / "JPEGImages/480p").iterdir()):
        given, truth = first_masks(clips / "Annotations/480p" / clip.name)
        out = runs / clip.name
        model = model or load_model(weight, device="cpu")
        segment_video(clip, given, out=out, model=model, resume=True)
        for row in confidence.read_objects(out / confidence.OBJECTS_FILE):
            object_id = row.state.object_id
            found = read_mask(out / f"{row.name}.png", void=0) == object_id
            there = truth[row.name] == object_id
            rows[clip.name, object_id].append(row)
            if (found | there).any():
                scores[clip.name, object_id, row.frame] = float((found & there).sum() / (found | there).sum())
    return rows, scores


def count(rows: Rows, scores: dict[tuple[str, int, int], float]) -> Counter[tuple[bool, bool]]:
    """Count objects in frames by (is bad, is flagged)."""
    found: Counter[tuple[bool, bool]] = Counter()
    for (clip, object_id), series in rows.items():
        for row in confidence.flag_lost(series):
            score = scores.get((clip, object_id, row.frame))
            if score is not None and not row.is_given:
                found[score < BAD, row.is_lost] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="annotated clips in DAVIS layout")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the masks of every clip")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "confidence.json")
    parser.add_argument("--weight", default="rde.small")
    options = parser.parse_args()
    rows, scores = measure(options.clips, options.runs, options.weight)
    chosen = (confidence.COLLAPSED, confidence.DOUBTFUL)
    table = []
    for collapsed, doubtful in sorted({chosen, *itertools.product(COLLAPSED, DOUBTFUL)}):
        confidence.COLLAPSED, confidence.DOUBTFUL = collapsed, doubtful
        found = count(rows, scores)
        bad, good = (found[is_bad, True] + found[is_bad, False] for is_bad in (True, False))
        entry = {
            "collapsed": collapsed,
            "doubtful": doubtful,
            "is_chosen": (collapsed, doubtful) == chosen,
            "bad": bad,
            "bad_flagged": found[True, True],
            "good": good,
            "good_flagged": found[False, True],
        }
        table.append(entry)
        print(
            f"area < {collapsed:.2f}, probability < {doubtful:.2f}: {entry['bad_flagged']} of {bad} bad, "
            f"{entry['good_flagged']} of {good} good ({100 * entry['good_flagged'] / max(1, good):.1f} %)"
            + (" <- chosen" if entry["is_chosen"] else "")
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"weight": options.weight, "thresholds": table}
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
