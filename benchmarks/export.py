"""Measure the memory and the time of exports as the video grows, by default 1000 frames of 1080p beside 100.

    python benchmarks/export.py --out benchmarks/results/export.json

Makes a video with moving objects and its masks, then exports the first frames of it and all of it to every format, each
in a process of its own. Reports the peak resident memory of both, as Linux tells it (their ratio is 1 if memory does
not grow with the video), and the time per frame as a multiple of decoding one, in the same run. Sizes are in MiB.
Formats may be measured one by one: rows of others stay in the file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from vos_zoo.interchange.export_formats import EXPORT_FORMATS
from vos_zoo.media.masks import write_mask
from vos_zoo.media.reader import open_video

_EXPORT = """
import re, sys, time
from pathlib import Path
from vos_zoo.interchange.export_masks import export_masks
begin = time.process_time()
report = export_masks(sys.argv[1], to=sys.argv[2], out=sys.argv[3], video=sys.argv[4], objects=[1, 2])
# Of this program alone; what getrusage says begins with the peak of the process that started it.
peak = re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]
print(report.frames, time.process_time() - begin, peak)
"""


def make_clip(place: Path, frames: int, size: tuple[int, int]) -> Path:
    """Write a video of two discs that move over a textured ground, and their masks in the folder ``masks``."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([rows // 6 % 200, columns // 9 % 200, (rows + columns) // 11 % 200], axis=-1).astype(np.uint8)
    ground += np.random.default_rng(0).integers(0, 40, ground.shape, dtype=np.uint8)
    path = place / "clip.mp4"
    place.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "23"}
        for number in range(frames):
            mask = np.zeros(size, np.uint8)
            picture = ground.copy()
            for object_id, (speed, radius) in enumerate(((5, height // 6), (-7, height // 8)), start=1):
                middle = (width * object_id // 3 + speed * number) % width
                disc = (rows - height // 2 - height // 18 * object_id) ** 2 + (columns - middle) ** 2 < radius**2
                mask[disc] = object_id
                picture[disc] = (230, 60 * object_id, 40)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            write_mask(place / "masks" / f"{number:05d}.png", mask)
        output.mux(stream.encode())
    return path


def decode_seconds(path: Path, frames: int) -> float:
    """Processor time to decode a frame of the video."""
    begin = time.process_time()
    for _ in open_video(path, end=frames):
        pass
    return (time.process_time() - begin) / frames


def measure(masks: Path, name: str, out: Path, video: Path) -> dict[str, float]:
    """Export in a process of its own."""
    command = [sys.executable, "-c", _EXPORT, str(masks), name, str(out), str(video)]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    files = [out] if out.is_file() else [file for file in out.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    return {
        "frames": int(words[0]),
        "seconds": float(words[1]),
        "peak_mib": int(words[2]) / 1024,
        "size_mib": size / 2**20,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1080, help="of 16:9 frames, in pixels")
    parser.add_argument("--first", type=int, default=100, help="frames of the shorter export")
    parser.add_argument("--formats", nargs="+", default=list(EXPORT_FORMATS), choices=EXPORT_FORMATS)
    parser.add_argument(
        "--clip", type=Path, help="folder to keep the video and its masks in, or where they are already"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    rows = []
    size = (options.height, options.height * 16 // 9)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        clip = place if options.clip is None else options.clip.absolute()
        video = clip / "clip.mp4"
        if not video.exists():
            make_clip(clip, options.frames, size)
        for part, count in (("all", options.frames), ("first", options.first)):
            (place / part).mkdir(exist_ok=True)
            for number in range(count):
                (place / part / f"{number:05d}.png").symlink_to(clip / "masks" / f"{number:05d}.png")
        decoding = decode_seconds(video, options.first)
        heads = [f"peak MiB, {count}" for count in (options.first, options.frames)]
        print(f"{'format':14} {heads[0]:>15} {heads[1]:>15} ratio  x decoding   MiB")
        for name in options.formats:
            suffix = EXPORT_FORMATS[name].suffixes[0] if EXPORT_FORMATS[name].suffixes else ""
            short, long = (measure(place / part, name, place / f"out{suffix}", video) for part in ("first", "all"))
            row = {
                "format": name,
                "frames": [short["frames"], long["frames"]],
                "peak_mib": [round(short["peak_mib"]), round(long["peak_mib"])],
                "peak_ratio": round(long["peak_mib"] / short["peak_mib"], 3),
                "time_by_decoding": round(long["seconds"] / long["frames"] / decoding, 2),
                "size_mib": round(long["size_mib"], 1),
            }
            rows.append(row)
            print(
                f"{name:14} {row['peak_mib'][0]:15} {row['peak_mib'][1]:15} {row['peak_ratio']:5.2f} "
                f"{row['time_by_decoding']:11.2f} {row['size_mib']:5.1f}",
                flush=True,
            )
    if options.out is not None:
        content = {"size": list(size), "frames": [options.first, options.frames], "formats": rows}
        if options.out.exists():
            older = json.loads(options.out.read_text(encoding="utf-8"))
            kept = [row for row in older.pop("formats") if row["format"] not in options.formats]
            if older == {key: content[key] for key in older}:
                content["formats"] = sorted([*kept, *rows], key=lambda row: list(EXPORT_FORMATS).index(row["format"]))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
