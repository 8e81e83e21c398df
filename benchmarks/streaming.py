"""Measure what `segment_frames` costs over a bare session: the same frames, frame by frame in turns.

    python benchmarks/streaming.py --clips CLIPS --out results/streaming.json

CLIPS is a root in DAVIS layout; its shortest clip is read into memory first. Each round runs a session and the
generator side by side, one frame of each in turns, and checks that their masks are equal. Processor seconds of one
thread; the medians over all frames, their ratio, and the median of the frames' own ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from vos_zoo import VideoSession, load_model, read_frames, read_mask, segment_frames

MOST = 1.03


def compare(model: object, frames: list, mask: object) -> list[tuple[float, float]]:
    """Processor seconds of every frame: session, generator."""
    session = VideoSession(model)
    results = segment_frames(frames, mask, model=model)
    pairs = []
    for number, frame in enumerate(frames):
        start = time.process_time()
        expected = session.step(frame, mask if number == 0 else None)
        middle = time.process_time()
        result = next(results)
        pairs.append((middle - start, time.process_time() - middle))
        assert (result.mask == expected.mask).all()
    return pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="annotated clips in DAVIS layout")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "streaming.json")
    parser.add_argument("--model", default="rde")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--frames", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clip = min((options.clips / "JPEGImages/480p").iterdir(), key=lambda clip: len(list(clip.iterdir())))
    frames = list(read_frames(clip, end=options.frames))
    mask = read_mask(min((options.clips / "Annotations/480p" / clip.name).glob("*.png")))
    model = load_model(options.model, device="cpu")
    pairs = [pair for _ in range(options.rounds) for pair in compare(model, frames, mask)[2:]]
    bare, streamed = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(after / before for before, after in pairs)
    height, width = frames[0].shape[:2]
    result = {
        "model": options.model,
        "size": [height, width],
        "frames": len(pairs),
        "session_seconds": bare,
        "segment_frames_seconds": streamed,
        "ratio_of_medians": streamed / bare,
        "median_of_ratios": ratio,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    print(
        f"segment_frames takes {100 * (ratio - 1):+.1f} % over a bare session; at most {100 * (MOST - 1):.0f} % allowed"
    )
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    raise SystemExit(main())
