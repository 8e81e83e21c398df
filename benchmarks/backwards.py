"""Measure what reading a video file backwards takes, beside reading it forwards: memory and processor time.

    python benchmarks/backwards.py --out results/backwards.json

Videos of two lengths are made by PyAV's H.264 encoder with its usual distance between key frames (250 frames at most).
Each way runs in a process of its own. Peak memory beyond that of a process that opens the video only shows how many
frames are held; it must not grow with the length.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

SIZE = (720, 1280)
_READ = """
import json, resource, sys, time
from vos_zoo.media.reader import open_video
video = open_video(sys.argv[1])
next(iter(video))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
positions = {"open": [], "forward": range(len(video)), "backward": range(len(video) - 1, -1, -1)}[sys.argv[2]]
count = sum(1 for _ in video.at(positions))
spent = time.process_time() - start
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"frames": count, "held": video.frames_held, "seconds": spent, "bytes": 1024 * (after - before)}))
"""


def write(path: Path, frames: int) -> None:
    """Encode noise that moves."""
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 4 * number, axis=1), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "backwards.json")
    parser.add_argument("--frames", type=int, nargs="+", default=[150, 600])
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as place:
        for frames in options.frames:
            path = Path(place) / f"{frames}.mp4"
            write(path, frames)
            for way in ("open", "forward", "backward"):
                command = [sys.executable, "-c", _READ, str(path), way]
                result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                found.append({"video_frames": frames, "way": way, **result})
                print(
                    f"{frames} frames, {way}: {result['frames']} read, {result['bytes'] / 2**20:.0f} MiB more, "
                    f"{result['seconds']:.1f} processor seconds"
                )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"size": SIZE, "runs": found}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
