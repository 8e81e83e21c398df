"""Measure the page of docs/live in headless Chromium, with WebAssembly on one thread and on all.

    python docs/live/build.py
    python benchmarks/live_page.py

It takes Playwright and Chromium. The page follows the bundled clip, given as images, at every detail. A column says how
many frames per second it reaches, decoding and drawing included; the page says the same to its visitors.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from vos_zoo.demo import demo_clip
from vos_zoo.media.reader import open_video

LIVE = Path(__file__).parents[1] / "docs" / "live"


@contextmanager
def served(folder: Path, *, isolated: bool) -> Iterator[str]:
    """Serve the page; only an isolated page may use several threads."""
    spec = importlib.util.spec_from_file_location("live_serve", LIVE / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    server = program.open_server(folder, isolated=isolated)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def follow(page: Any, frames: list[Path], detail: str) -> tuple[float, str]:
    """Follow the clip once; frames per second, and what computed."""
    page.set_input_files("#files", frames)
    page.wait_for_selector("body[data-busy=false]")
    page.set_input_files("#mask-file", demo_clip().first_mask)
    page.wait_for_selector("body[data-busy=false]")
    page.select_option("#detail", detail)
    page.click("#follow")
    page.wait_for_selector("#stop:visible")
    page.wait_for_selector("body[data-busy=false]", timeout=600_000)
    text = page.text_content("#progress-text")
    speed = re.search(r"([\d.]+) frames/s · (WebAssembly, \d+ threads?|WebGPU)", text)
    assert speed is not None, text or page.text_content("#message")
    return float(speed[1]), speed[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=LIVE / "built", help="what docs/live/build.py wrote")
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        frames = []
        for frame in open_video(demo_clip().video, end=options.frames):
            frames.append(Path(place) / f"{len(frames):05d}.png")
            Image.fromarray(frame.image).save(frames[-1])
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        with playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"]) as browser:
            print(f"Chromium {browser.version}, {options.frames} frames, one object")
            for isolated in (False, True):
                with served(options.folder, isolated=isolated) as address:
                    page = browser.new_page()
                    page.goto(address)
                    page.wait_for_selector("body[data-ready]")
                    follow(page, frames[:3], "low")  # loads the model
                    for detail in ("low", "medium", "high"):
                        rate, how = follow(page, frames, detail)
                        print(f"{how:25s} {detail:7s} {rate:5.1f} frames/s", flush=True)
                    page.close()


if __name__ == "__main__":
    main()
