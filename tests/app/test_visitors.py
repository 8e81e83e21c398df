"""Five visitors at once against the running page, over HTTP as a tab talks to it; one of them runs out of memory."""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from testing.page_server import running_page
from testing.videos import write_video
from vos_zoo.inference.session import VideoSession
from vos_zoo.media.masks import read_mask
from vos_zoo.media.reader import open_video
from vos_zoo.prompts import Box, prompt_mask
from vos_zoo.segmentation.project import read_project
from vos_zoo.segmentation.replay import replay_project
from vos_zoo.segmentation.video import segment_video
from vos_zoo.weights import load_network

VISITORS, UNLUCKY, FRAMES = 5, 2, 5
MODEL, WORKING_SIZE, WORKING_SIZE_ON_PAGE = "rde", 240, "240 pixels (fast)"
SIZE, UNLUCKY_SIZE = (48, 64), (48, 80)  # by its size the server knows the session that shall run out of memory
TIME = 120  # seconds that anything may take

# The first step waits until everybody has come, so that all are there at once however slow the machine is.
SERVER = f"""
import sys, time
from pathlib import Path
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.serve import serve
from vos_zoo.inference.session import VideoSession

gate, port = Path(sys.argv[1]), int(sys.argv[2])
step, failures = VideoSession._step, [RuntimeError("DefaultCPUAllocator: not enough memory")]

def guarded(session, given):
    until = time.monotonic() + {TIME}
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.01)
    if given.sizes.frame_size == {UNLUCKY_SIZE} and session.num_frames == 3 and failures:
        raise failures.pop()
    return step(session, given)

VideoSession._step = guarded
serve(port=port, open_browser=False, device="cpu", limits=AppLimits(waiting={VISITORS - 1}))
"""


def pictures(number):
    """A bright square on dark noise; every visitor has other noise, another colour and another way."""
    height, width = UNLUCKY_SIZE if number == UNLUCKY else SIZE
    random = np.random.default_rng(number)
    noise = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
    colour = random.integers(120, 255, 3)
    for frame in range(FRAMES):
        picture = noise.copy()
        left, top, _, _ = square(number, frame)
        picture[top : top + 16, left : left + 16] = colour
        yield picture


def square(number, frame=0):
    """Left, top, right and bottom of a visitor's square."""
    left, top = 4 + 6 * number + frame, 4 + 5 * number
    return left, top, left + 16, top + 16


@dataclass
class Visitor:
    """A tab, in the words of its user."""

    address: str
    place: Path
    number: int
    news: list[dict] = field(default_factory=list)

    def __post_init__(self):
        import gradio_client

        downloads = self.place / f"downloads{self.number}"
        self.client = gradio_client.Client(
            self.address, verbose=False, analytics_enabled=False, download_files=downloads
        )
        parts = self.client.config["components"]
        (self.editor,) = (part["id"] for part in parts if part["props"].get("elem_id") == "vz-editor")
        self.video = write_video(self.place / f"clip{self.number}.mp4", list(pictures(self.number)))

    def ask(self, **request):
        body = {
            "data": {"key": self.key, **request},
            "session_hash": self.client.session_hash,
            "component_id": self.editor,
            "fn_name": "call",
        }
        headers = {"Content-Type": "application/json"}
        url = f"{self.address}gradio_api/component_server"
        question = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(question, timeout=TIME) as answer:
            return json.load(answer)

    def upload(self):
        from gradio_client import handle_file

        self.key, news, _ = self.client.submit(handle_file(self.video), "", api_name="/upload").result(TIME)
        assert news["kind"] == "project", news

    def draw_box(self):
        left, top, right, bottom = square(self.number)
        prompt = {"kind": "box", "object_id": 1, "left": left, "top": top, "right": right, "bottom": bottom}
        state = self.ask(action="edit", frame=0, prompt=prompt)
        assert state.get("pending") == 1, state

    def press_track(self):
        words = self.key, MODEL, "Forwards", WORKING_SIZE_ON_PAGE
        self.job = self.client.submit(*words, api_name="/track")
        return self

    def heard(self):
        """What the server has said so far since Track was pressed."""
        return self.job.outputs()

    def follow(self):
        """Wait for the end of tracking; give the last news."""
        self.job.result(TIME)
        self.news = self.heard()
        return self.news[-1]

    def download(self, kind):
        path, news = self.client.submit(self.key, api_name=f"/download_{kind}").result(TIME)
        assert news == {}, news
        return Path(path["value"] if isinstance(path, dict) else path)

    def masks(self):
        with zipfile.ZipFile(self.download("masks")) as archive:
            folder = self.place / f"masks{self.number}"
            archive.extractall(folder)
        return folder


def places(visitor):
    """How many come before a visitor, as the server has said so far."""
    return [news.get("ahead", 0) for news in visitor.heard()] or [0]


def wait_until(is_so):
    until = time.monotonic() + TIME
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


@dataclass
class Crowd:
    """What five visitors and one too many have seen."""

    visitors: list[Visitor]
    ahead: list[int] = field(default_factory=list)
    refusal: dict = field(default_factory=dict)
    ends: list[dict] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    second_end: dict = field(default_factory=dict)
    project: Path | None = None


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Let everybody come, track and download at once; the unlucky one tracks again."""
    place = tmp_path_factory.mktemp("visitors")
    gate = place / "gate"
    words = ["-c", SERVER, str(gate)]
    with running_page(place, words) as address, ThreadPoolExecutor(VISITORS + 1) as threads:
        *visitors, late = threads.map(lambda number: Visitor(address, place, number), range(VISITORS + 1))
        list(threads.map(Visitor.upload, [*visitors, late]))
        list(threads.map(Visitor.draw_box, [*visitors, late]))
        found = Crowd(visitors)
        list(threads.map(Visitor.press_track, visitors))
        wait_until(lambda: sum(max(places(visitor)) > 0 for visitor in visitors) == VISITORS - 1)
        found.ahead = [max(places(visitor)) for visitor in visitors]
        late.press_track()
        wait_until(late.heard)
        found.refusal = late.heard()[0]
        gate.touch()
        found.ends = list(threads.map(Visitor.follow, visitors))
        found.second_end = visitors[UNLUCKY].press_track().follow()
        found.masks = list(threads.map(Visitor.masks, visitors))
        found.project = visitors[UNLUCKY].download("project")
        list(threads.map(lambda visitor: visitor.client.close(), [*visitors, late]))
    return found


@pytest.fixture(scope="module")
def expected(crowd, tmp_path_factory):
    """The library's masks of every visitor's video and box."""
    place = tmp_path_factory.mktemp("expected")
    network = load_network(MODEL, device="cpu")
    for number, visitor in enumerate(crowd.visitors):
        first = next(iter(open_video(visitor.video))).image
        mask = prompt_mask(first, [Box(1, *square(number))])
        segment_video(visitor.video, mask, out=place / str(number), model=network, device="cpu", size=WORKING_SIZE)
    return [place / str(number) for number in range(VISITORS)]


def read(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_everybody_but_one_waits_in_one_line(crowd):
    assert sorted(crowd.ahead) == list(range(VISITORS))


def test_one_too_many_is_refused_in_the_librarys_words(crowd):
    assert crowd.refusal["kind"] == "error"
    assert f"all places in the line are taken ({VISITORS - 1})" in crowd.refusal["message"]


@pytest.mark.parametrize("number", [number for number in range(VISITORS) if number != UNLUCKY])
def test_every_visitor_gets_the_librarys_masks(crowd, expected, number):
    assert crowd.ends[number]["kind"] == "end"
    assert crowd.ends[number]["message"] == ""
    assert len(read(expected[number])) == FRAMES
    assert read(crowd.masks[number]) == read(expected[number])


def test_nobody_hears_of_another(crowd):
    for visitor in crowd.visitors:
        assert {news["key"] for news in visitor.news} == {visitor.key}


def test_a_mix_would_be_seen(crowd, expected):
    """No two visitors' masks are equal on any frame, nor is one empty, so one cannot be taken for another."""
    for frame in range(FRAMES):
        found = [read_mask(folder / f"{frame:05d}.png") for folder in expected]
        assert all(mask.any() for mask in found)
        for one, other in itertools.combinations(found, 2):
            assert one.shape != other.shape or (one != other).any()


def test_out_of_memory_ends_one_run_alone(crowd):
    assert "Out of memory on cpu at frame 3: 400x240 pixels, 1 objects" in crowd.ends[UNLUCKY]["message"]


def test_who_ran_out_of_memory_can_track_again(crowd, tmp_path):
    assert crowd.second_end["message"] == ""
    visitor = crowd.visitors[UNLUCKY]
    project = read_project(crowd.project)
    assert [run.steps for run in project.runs] == [3, None]
    replay_project(project, visitor.video, out=tmp_path, device="cpu")
    assert len(read(tmp_path)) == FRAMES
    assert read(crowd.masks[UNLUCKY]) == read(tmp_path)


def test_a_session_gives_the_same_masks(crowd, expected):
    """The loop that everything else is around, by hand, for one visitor."""
    session = VideoSession(load_network(MODEL, device="cpu"), size=WORKING_SIZE)
    for frame in open_video(crowd.visitors[0].video):
        mask = prompt_mask(frame.image, [Box(1, *square(0))]) if frame.index == 0 else None
        result = session.step(frame.image, mask)
        np.testing.assert_array_equal(result.mask, read_mask(expected[0] / f"{frame.name}.png"))
