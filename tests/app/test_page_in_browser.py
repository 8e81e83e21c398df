"""The page as people use it: Chromium, headless, against the running command."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from testing.page_server import COMMAND, running_page
from testing.videos import write_video
from vos_zoo.media.masks import read_mask

pytestmark = pytest.mark.browser

SIZE = 120, 160

UNNAMED = """() => [...document.querySelectorAll("button, input, select, textarea, canvas")]
  .filter((part) => part.checkVisibility() && part.type !== "file")
  .filter((part) => !(part.getAttribute("aria-label") || part.title || part.innerText
    || (part.labels && [...part.labels].some((label) => label.innerText.trim()))))
  .map((part) => part.outerHTML.slice(0, 200))"""
"""Visible controls that a screen reader has no name for."""

PALE = """() => {
  const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const luminance = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, channel) => {
    const value = colour[channel] / 255;
    return sum + weight * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  }, 0);
  const background = (part) => {
    for (let place = part; place; place = place.parentElement) {
      const colour = numbers(getComputedStyle(place).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter((part) => part.checkVisibility() && !part.disabled
    && [...part.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .map((part) => {
      const colours = [numbers(getComputedStyle(part).color), background(part)];
      const [one, other] = colours.map(luminance).sort((a, b) => b - a);
      return [part.innerText, (one + 0.05) / (other + 0.05)];
    }).filter(([text, ratio]) => ratio < 4.5);
}"""
"""Texts whose contrast is below 4.5, which WCAG 2.2 asks for (success criterion 1.4.3)."""
FRAMES = 10


def pictures():
    """Two squares on noise: a red one that moves to the right, a blue one that stays."""
    noise = np.random.default_rng(0).integers(90, 120, (*SIZE, 3), dtype=np.uint8)
    for number in range(FRAMES):
        picture = noise.copy()
        picture[20:60, 20 + 4 * number : 60 + 4 * number] = (230, 40, 30)
        picture[80:110, 100:140] = (30, 60, 230)
        yield picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "squares.mp4", list(pictures()))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_page(tmp_path_factory.mktemp("server"), COMMAND) as url:
        yield url


class Page:
    """A tab with the page in it, in the words of its user."""

    def __init__(self, context, address):
        self.elsewhere, self.wrong = [], []
        self.tab = context.new_page()
        self.tab.set_default_timeout(180_000)
        self.tab.on("request", self._note)
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.goto(address)
        self.button("Use the example").wait_for()

    def _note(self, request):
        if not request.url.startswith(("http://127.0.0.1", "data:", "blob:")):
            self.elsewhere.append(request.url)

    def button(self, name):
        return self.tab.get_by_role("button", name=name)

    def upload(self, path):
        self.tab.locator("input[type=file]").first.set_input_files(path)

    def wait(self, **facts):
        for name, value in facts.items():
            self.tab.locator(f'[data-{name}="{value}"]').first.wait_for()

    def error(self):
        found = self.tab.locator(".vz-error:not(:empty)")
        found.wait_for()
        return found.inner_text()

    def place(self, x, y):
        box = self.tab.locator(".vz-canvas").bounding_box()
        return box["x"] + x / SIZE[1] * box["width"], box["y"] + y / SIZE[0] * box["height"]

    def drag(self, *points):
        self.tab.mouse.move(*self.place(*points[0]))
        self.tab.mouse.down()
        for point in points[1:]:
            self.tab.mouse.move(*self.place(*point))
        self.tab.mouse.up()

    def choose(self, field, option):
        self.tab.get_by_label(field).first.click()
        self.tab.get_by_role("option", name=option, exact=True).click()

    def go_to(self, frame):
        self.tab.get_by_role("slider", name="Frame").fill(str(frame))
        self.wait(frame=frame)

    def download(self, name, path):
        self.button(name).click()
        self.tab.locator("#vz-file", has_text=path.name.rpartition(".")[2]).wait_for()
        with self.tab.expect_download() as found:
            self.tab.locator("#vz-file a").first.click()
        found.value.save_as(path)
        return path


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1400, "height": 1100}, accept_downloads=True)
    yield Page(context, address)
    context.close()


def test_from_a_clip_to_its_masks_and_back(page, clip, tmp_path):
    page.upload(clip)
    page.wait(frame=0)
    page.drag((16, 16), (64, 64))
    page.wait(pending=1)
    page.button("Add object").click()
    page.button("Choose object 2").wait_for()
    page.tab.locator('[data-tool="brush"]').click()
    page.drag((104, 84), (136, 84), (136, 95), (104, 95), (104, 106), (136, 106))
    page.wait(pending=2)
    page.button("Track").click()
    page.wait(runs=1, finished=FRAMES, pending=0)

    page.go_to(6)
    page.tab.locator('[data-tool="eraser"]').click()
    page.drag((101, 82), (101, 108))
    page.wait(pending=1)
    page.button("Track").click()
    page.wait(runs=2, pending=0)
    page.choose("Model", "stcn")
    page.choose("Working resolution", "240 pixels (fast)")
    page.tab.get_by_label("Backwards").check()
    page.tab.reload()
    page.wait(runs=2, finished=FRAMES)
    assert page.tab.get_by_label("Model").first.input_value() == "stcn"
    assert page.tab.get_by_label("Working resolution").first.input_value() == "240 pixels (fast)"
    assert page.tab.get_by_label("Backwards").is_checked()

    masks = page.download("Masks (PNG)", tmp_path / "squares_masks.zip")
    project = page.download("Project file", tmp_path / "project.json")
    assert (tmp_path / project).is_file()
    shutil.copy(clip, tmp_path / clip.name)
    words = ["segment", "--project", str(project), "--out", str(tmp_path / "again"), "--device", "cpu"]
    subprocess.run([sys.executable, "-m", "vos_zoo.cli.main", *words], check=True, timeout=240)
    with zipfile.ZipFile(masks) as archive:
        names = archive.namelist()
        assert len(names) == FRAMES
        for name in names:
            assert archive.read(name) == (tmp_path / "again" / name).read_bytes(), name
    first = read_mask(tmp_path / "again" / "00000.png")
    assert set(np.unique(first)) == {0, 1, 2}
    assert (first[25:55, 25:55] == 1).mean() > 0.9
    assert not page.elsewhere
    assert not page.wrong


def test_tracking_stops_within_a_frame_and_goes_on(page, clip):
    page.button("Use the example").click()
    page.wait(frame=0)
    page.drag((40, 20), (90, 110))  # of 160x120, as place() counts
    page.wait(pending=1)
    page.tab.get_by_text("Forwards").click()
    page.button("Track").click()
    page.tab.locator(".vz-progress span", has_text="frames/s").wait_for()
    page.button("Stop").click()
    page.wait(runs=1)
    page.tab.locator(".vz-message", has_text="Stopped").wait_for()  # after the mask of the frame in view came
    finished = int(page.tab.locator("[data-finished]").first.get_attribute("data-finished"))
    assert 0 < finished < 106


def test_two_tabs_do_not_mix(browser, address, clip):
    context = browser.new_context()
    first, second = Page(context, address), Page(context, address)
    first.upload(clip)
    first.wait(frame=0)
    assert not second.tab.locator(".vz-stage").is_visible()
    second.button("Use the example").click()
    second.wait(frame=0)
    first.tab.reload()
    first.wait(frame=0)
    first.tab.locator(".vz-message", has_text="squares.mp4").wait_for()
    second.tab.locator(".vz-message", has_text="bird.mp4").wait_for()
    context.close()


def test_keys_move_choose_and_undo(page, clip):
    page.upload(clip)
    page.wait(frame=0)
    page.tab.locator(".vz-canvas").focus()
    for _ in range(2):
        page.tab.keyboard.press("ArrowRight")
    page.wait(frame=2)
    page.tab.keyboard.press("ArrowLeft")
    page.wait(frame=1)
    page.button("Add object").click()
    page.tab.locator(".vz-canvas").focus()
    page.tab.keyboard.press("1")
    assert page.button("Choose object 1").get_attribute("aria-pressed") == "true"
    page.drag((20, 16), (70, 64))
    page.wait(pending=1)
    page.tab.keyboard.press("z")
    page.wait(pending=0)
    page.tab.keyboard.press(" ")
    page.button("Pause").wait_for()


def test_opening_shows_progress_and_can_be_stopped(page, clip, tmp_path):
    page.upload(clip)
    page.wait(frame=0)
    long = write_video(
        tmp_path / "long.mp4", [np.full((720, 1280, 3), number % 256, np.uint8) for number in range(400)]
    )
    page.upload(long)
    page.tab.locator(".vz-progress span", has_text="of 400 frames").wait_for()
    page.button("Stop").click()
    page.tab.locator(".vz-message", has_text="not opened").wait_for()
    page.drag((16, 16), (64, 64))  # the project before is still there
    page.wait(pending=1)


def test_an_error_that_comes_twice_is_shown_twice(page, clip):
    page.upload(clip)
    page.wait(frame=0)
    for _ in range(2):
        page.button("Track").click()
        assert "pointed out" in page.error()
        assert not page.tab.locator(".vz-progress").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_control_has_a_name_and_every_text_a_contrast(page, address, clip, theme):
    page.tab.goto(f"{address}?__theme={theme}")
    page.upload(clip)
    page.wait(frame=0)
    assert page.tab.evaluate(UNNAMED) == []
    assert page.tab.evaluate(PALE) == []


# One video is opened at a time, and one may wait; the first takes until the gate is there.
BUSY = """
import sys, time
from pathlib import Path
from vos_zoo.app import page
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.serve import serve

gate, port = Path(sys.argv[1]), int(sys.argv[2])
demo_clip = page.demo_clip

def guarded():
    until = time.monotonic() + 120
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return demo_clip()

page.demo_clip, page._OPENED_AT_A_TIME = guarded, 1
serve(port=port, open_browser=False, device="cpu", limits=AppLimits(projects=1))
"""


def test_whom_the_server_turns_away_is_told(browser, tmp_path):
    gate = tmp_path / "gate"
    with running_page(tmp_path, ["-c", BUSY, str(gate)]) as address:
        context = browser.new_context()
        first, second, third = (Page(context, address) for _ in range(3))
        for page in (first, second):
            page.button("Use the example").click()
            page.tab.get_by_text("Waiting for the server").wait_for()
        page.tab.wait_for_timeout(1000)  # the second has come to the server, too
        third.button("Use the example").click()
        assert "too much to do: try again" in third.error()
        assert not third.tab.locator(".vz-progress").is_visible()
        gate.touch()
        second.wait(frame=0)
        third.button("Use the example").click()
        third.wait(frame=0)
        assert third.tab.locator(".vz-error").inner_text() == ""
        context.close()


def test_what_is_no_video_is_refused_in_the_librarys_words(page, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("<!DOCTYPE html><title>404</title>")
    page.upload(path)
    assert "HTML page" in page.error()


def test_300_mebibytes_are_refused(page, tmp_path):
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)
    page.upload(path)
    page.tab.get_by_text("exceed", exact=False).first.wait_for()
    assert not page.tab.locator(".vz-stage").is_visible()
