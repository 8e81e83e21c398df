"""Write the page of results from measured JSON.

    python benchmarks/results_page.py [--json benchmarks/results/score.json] [--out docs/results.md]

The JSON comes from ``benchmarks/score.py``. No number of the page is typed by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SCORES = ROOT / "benchmarks" / "results" / "score.json"
PAGE = ROOT / "docs" / "results.md"
BASELINES = ("repeat first mask", "training-free propagation")
MIB = 2**20

HEAD = """# Results of the bundled weights

<!-- Written by `python benchmarks/results_page.py` from `benchmarks/results/score.json`; edits here are lost. -->

Seven annotated clips that no weight was trained on: five held-out DAVIS 2016 training sequences, DAVIS 2017
`schoolgirls`, and one YouTube-VOS clip. Each object's mask is given on the frame where it first appears; J, F and J&F
follow the DAVIS 2017 protocol, which excludes the first and the last frame. The clips were used during development
(working sizes were chosen on them), so scores on new videos may be lower.

Every model runs at its session's default size, in float32 on {threads} CPU {cores} with torch {torch}. Frames a second
include all of a session's work and depend on the machine and its load: compare columns, not pages. Memory is what the
session holds of the video after its last frame.

*Repeat first mask* leaves every object where it was first seen. *Training-free propagation* copies labels along the
cosine similarity of an ImageNet ResNet-18's features, at a short side of {size} pixels.
"""


def make_page(record: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    results = record["results"]
    weights = sorted(
        (name for name in results if name not in BASELINES), key=lambda name: -results[name]["J&F over clips"]
    )
    threads = record["threads"]
    parts = [
        HEAD.format(
            threads=threads, cores="thread" if threads == 1 else "threads", torch=record["torch"], size=record["size"]
        ),
        "## All weights\n",
        _table(
            ("weight", "J&F over clips", "J&F over objects", "J", "F"),
            [
                (
                    name,
                    *(
                        _percent(results[name][mean])
                        for mean in ("J&F over clips", "J&F over objects", "J over objects", "F over objects")
                    ),
                )
                for name in (*weights, *reversed(BASELINES))
            ],
        ),
        "J&F per clip:\n",
        _table(
            ("clip", "objects", *weights, *reversed(BASELINES)),
            [
                (
                    clip,
                    str(row["objects"]),
                    *(_percent(results[name]["clips"][clip]["J&F"]) for name in (*weights, *reversed(BASELINES))),
                )
                for clip, row in results[BASELINES[0]]["clips"].items()
            ],
        ),
    ]
    for name in weights:
        parts += [f"## {name}\n", _weight_table(results, name)]
    return "\n".join(parts)


def _weight_table(results: dict[str, Any], name: str) -> str:
    rows = []
    for clip, row in results[name]["clips"].items():
        scores = (_percent(row[measure]) for measure in ("J", "F", "J&F"))
        beside = (_percent(results[baseline]["clips"][clip]["J&F"]) for baseline in reversed(BASELINES))
        memory = f"{row['memory_bytes'] / MIB:.1f}" if "memory_bytes" in row else "not measured"
        rows.append((clip, *scores, f"{row['frames_per_second']:.2f}", memory, *beside))
    return _table(("clip", "J", "F", "J&F", "frames/s", "memory in MiB", "propagation J&F", "repetition J&F"), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=SCORES)
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    arguments.out.write_text(make_page(json.loads(arguments.json.read_text())))
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
