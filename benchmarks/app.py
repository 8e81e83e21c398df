"""What does the web page cost? Start, box to mask, live preview, and memory over several videos.

    python benchmarks/app.py --out app.json

Start: from the command to its first answer, beside a program that serves an empty page of Gradio; and until a browser,
open already, shows the page. Preview: frames a second on the demo clip, as the page shows them while a client fetches
every preview, beside the same tracking without a page, by turns. Numbers of one run belong together; those of two
machines, or of a busy one, do not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vos_zoo.app.limits import AppLimits
from vos_zoo.app.pictures import FramePictures
from vos_zoo.app.project import AppProject
from vos_zoo.app.store import ProjectStore
from vos_zoo.demo import demo_clip
from vos_zoo.media.reader import open_video
from vos_zoo.media.writer import VideoWriter
from vos_zoo.prompts import Box, prompts_to_json
from vos_zoo.segmentation.project import ProjectRun, ProjectSettings
from vos_zoo.segmentation.replay import ProjectReplay
from vos_zoo.weights import load_network

BIRD = Box(1, 250, 60, 560, 420)
SIZE, SIZE_ON_PAGE = 240, "240 pixels (fast)"
APP = ["-m", "vos_zoo.cli.main", "app", "--no-browser", "--device", "cpu"]
EMPTY = """
import sys, gradio
with gradio.Blocks() as page:
    gradio.Markdown("Nothing")
page.launch(server_port=int(sys.argv[1]), quiet=True)
"""


@contextlib.contextmanager
def server(words: list[str]) -> Iterator[str]:
    """Run a program that serves on a port, which is its last argument; give the address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, *words, str(port)], stdout=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait(60)


def measure_start(rounds: int) -> dict[str, float]:
    """Median seconds of the clock until a program answers its first request, and a browser shows the page."""
    programs = {"page": [*APP, "--port"], "empty page of Gradio": ["-c", EMPTY]}
    seconds: dict[str, list[float]] = {"page": [], "empty page of Gradio": [], "page in a browser": []}
    with open_browser() as browser:
        for _ in range(rounds):
            for name, words in programs.items():
                begin = time.perf_counter()
                with server(words) as address:
                    seconds[name].append(time.perf_counter() - begin)
                    if name == "page" and browser is not None:
                        tab = browser.new_page()
                        tab.goto(address)
                        tab.get_by_role("button", name="Use the example").wait_for()
                        seconds["page in a browser"].append(time.perf_counter() - begin)
                        tab.close()
    return {name: round(statistics.median(values), 3) for name, values in seconds.items() if values}


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Open a browser before it is timed; None where Playwright or Chromium is not installed."""
    program = shutil.which("chromium")
    if program is None or importlib.util.find_spec("playwright") is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])


def measure_box(video: Path, rounds: int) -> dict[str, float]:
    """Median seconds from a box to the picture of its mask: of the clock, and of all processors."""
    clock, processor = [], []
    with tempfile.TemporaryDirectory() as place:
        pictures = FramePictures(video, Path(place) / "pictures", AppLimits())
        list(pictures.write())
        project = AppProject(pictures, Path(place) / "project", AppLimits())
        for turn in range(rounds + 1):
            begin, spent = time.perf_counter(), time.process_time()
            project.edit(0, BIRD)
            project.mask_picture(0)
            if turn:  # the first loads the network
                clock.append(time.perf_counter() - begin)
                processor.append(time.process_time() - spent)
            project.undo()
    return {"seconds": statistics.median(clock), "processor_seconds": statistics.median(processor)}


def measure_preview(rounds: int, frames: int) -> dict[str, float]:
    """Median frames a second with the page and its previews, and without the page; the model is loaded already."""
    video, model = demo_clip().video, load_network("rde")
    found: dict[str, list[float]] = {"with previews": [], "without the page": []}
    with server([*APP, "--port"]) as address:
        for _ in range(rounds):
            found["without the page"].append(track_alone(video, model, frames))
            found["with previews"].append(track_on_page(address, frames))
    rates = {name: round(statistics.median(values), 3) for name, values in found.items()}
    return {**rates, "share lost": round(1 - rates["with previews"] / rates["without the page"], 3)}


def track_alone(video: Path, model: Any, frames: int) -> float:
    """Frames a second between the first and the last."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        run = ProjectRun(ProjectSettings(direction="forward", size=SIZE), prompts_to_json({0: [BIRD]}))
        ProjectReplay(video, Path(place) / "masks", load=lambda name: model, device="cpu").run(
            run,
            progress=lambda done, total: times.append(time.perf_counter()),
            should_stop=lambda: len(times) == frames,
        )
    return (len(times) - 1) / (times[-1] - times[0])


def track_on_page(address: str, frames: int) -> float:
    """Frames a second as the page shows them, with a client that fetches every preview as a browser does."""
    import gradio_client

    client = gradio_client.Client(address, verbose=False)
    (editor,) = (part["id"] for part in client.config["components"] if part["props"].get("elem_id") == "vz-editor")

    def ask(**request: Any) -> dict[str, Any]:
        body = {"data": request, "session_hash": client.session_hash, "component_id": editor, "fn_name": "call"}
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        question = urllib.request.Request(f"{address}gradio_api/component_server", data, headers)
        with urllib.request.urlopen(question, timeout=60) as answer:
            return dict(json.load(answer))

    *_, (key, _) = client.submit("", api_name="/example")
    prompt = {"kind": "box", "object_id": 1, "left": BIRD.left, "top": BIRD.top, "right": BIRD.right}
    ask(key=key, action="edit", frame=0, prompt={**prompt, "bottom": BIRD.bottom})
    rate = 0.0
    for news in client.submit(key, "rde", "Forwards", SIZE_ON_PAGE, api_name="/track"):
        if news["kind"] == "tracking" and news["frame"] is not None:
            rate = news["rate"]
            ask(key=key, action="picture", frame=news["frame"])
            ask(key=key, action="mask", frame=news["frame"])
            if news["done"] >= frames:
                ask(key=key, action="stop")
    return rate


def resident_mebibytes() -> float:
    """Mebibytes of this process in memory, as Linux says."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)


def measure_memory(video: Path, videos: int) -> dict[str, Any]:
    """Mebibytes of this process after each of several projects that are tracked and removed, and the most."""
    store, found = ProjectStore(AppLimits(projects=2)), []
    for _ in range(videos):
        key = store.create(video, "clip.mp4")
        project = store.get(key)
        project.edit(0, BIRD)
        list(project.track(ProjectSettings(direction="forward", size=SIZE)))
        store.remove(key)
        found.append(resident_mebibytes())
    store.close()
    return {"mib": found, "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


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
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--only", choices=("start", "box", "preview", "memory"), help="one measurement")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        video = cut(Path(place) / "clip.mp4", options.frames)
        measurements = {
            "start": lambda: measure_start(options.rounds),
            "box": lambda: measure_box(video, options.rounds),
            "preview": lambda: measure_preview(options.rounds, options.frames),
            "memory": lambda: measure_memory(video, options.videos),
        }
        content: dict[str, Any] = {"cores": os.cpu_count()}
        for name in [options.only] if options.only else measurements:
            content[name] = {"load": round(os.getloadavg()[0], 2), **measurements[name]()}
    print(json.dumps(content, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
