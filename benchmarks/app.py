"""What does the web page cost? Start, box to mask, live preview, and memory over several videos.

    python benchmarks/app.py --out app.json

Start: from the command to its first answer, beside a process that imports Gradio alone. Preview: processor seconds of
tracking the demo clip with the page's previews, beside the same run without the page, by turns in one process. Numbers
of one run belong together; those of two machines, or of a busy one, do not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from vos_zoo.app.limits import AppLimits
from vos_zoo.app.project import AppProject
from vos_zoo.app.store import ProjectStore
from vos_zoo.demo import demo_clip
from vos_zoo.media.reader import open_video
from vos_zoo.media.writer import VideoWriter
from vos_zoo.models.load import load_model
from vos_zoo.prompts import Box, prompts_to_json
from vos_zoo.segmentation.project import ProjectRun, ProjectSettings
from vos_zoo.segmentation.replay import ProjectReplay

BIRD = Box(1, 250, 60, 560, 420)


def measure_start(rounds: int) -> dict[str, float]:
    """Median seconds of the clock until the page answers, and until Gradio is imported."""
    seconds: dict[str, list[float]] = {"page": [], "import gradio": []}
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import gradio"], check=True)
        seconds["import gradio"].append(time.perf_counter() - begin)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        begin = time.perf_counter()
        words = ["-m", "vos_zoo.cli.main", "app", "--no-browser", "--port", str(port)]
        with subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL) as server:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.05)
            seconds["page"].append(time.perf_counter() - begin)
            server.terminate()
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure_box(video: Path, rounds: int) -> dict[str, float]:
    """Median seconds from a box to the picture of its mask: of the clock, and of all processors."""
    clock, processor = [], []
    with tempfile.TemporaryDirectory() as place:
        project = AppProject(video, "clip.mp4", Path(place) / "project", AppLimits())
        for turn in range(rounds + 1):
            begin, spent = time.perf_counter(), time.process_time()
            project.edit(0, BIRD)
            project.mask_picture(0)
            if turn:  # the first loads the network
                clock.append(time.perf_counter() - begin)
                processor.append(time.process_time() - spent)
            project.undo()
    return {"seconds": statistics.median(clock), "processor_seconds": statistics.median(processor)}


def measure_preview(video: Path, rounds: int, size: int) -> dict[str, float]:
    """Median processor seconds of tracking with and without the page."""
    model = load_model("rde", device="cpu")
    spent: dict[str, list[float]] = {"with previews": [], "without": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            begin = time.process_time()
            run = ProjectRun(ProjectSettings(direction="forward", size=size), prompts_to_json({0: [BIRD]}))
            ProjectReplay(video, Path(place) / "masks", load=lambda name: model).run(run)
            spent["without"].append(time.process_time() - begin)
            project = AppProject(video, "clip.mp4", Path(place) / "project", AppLimits(), load=lambda name: model)
            project.edit(0, BIRD)
            begin = time.process_time()
            for preview in project.track(ProjectSettings(direction="forward", size=size)):
                if preview.frame is not None:
                    project.picture(preview.frame)
                    project.mask_picture(preview.frame)
            spent["with previews"].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in spent.items()}


def resident_mebibytes() -> float:
    """Mebibytes of this process in memory, as Linux says."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)


def measure_memory(video: Path, videos: int, size: int) -> list[float]:
    """Mebibytes of this process after each of several projects that are tracked and removed."""
    store, found = ProjectStore(AppLimits(projects=2)), []
    for _ in range(videos):
        key = store.create(video, "clip.mp4")
        project = store.get(key)
        project.edit(0, BIRD)
        list(project.track(ProjectSettings(direction="forward", size=size)))
        store.remove(key)
        found.append(resident_mebibytes())
    store.close()
    return found


def cut(target: Path, frames: int) -> Path:
    """Write the beginning of the demo clip."""
    reader = open_video(demo_clip().video, end=frames)
    with VideoWriter(target, reader.size, fps=reader.fps or 24) as writer:
        for frame in reader:
            writer.write(frame.image, frame.time)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=240, help="short side that the network sees")
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        video = cut(Path(place) / "clip.mp4", options.frames)
        content: dict[str, Any] = {
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "start": measure_start(options.rounds),
            "box": measure_box(video, options.rounds),
            "preview": measure_preview(video, options.rounds, options.size),
            "memory_mib": measure_memory(video, options.videos, options.size),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }
    print(json.dumps(content, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
