"""The page of ``docs/live`` as visitors use it: Chromium, headless, computing with WebAssembly.

Building the page takes npm and half a minute; ``VOS_ZOO_LIVE`` names a folder that ``docs/live/build.py`` wrote before.
"""

from __future__ import annotations

import importlib.util
import io
import mimetypes
import os
import shutil
import threading
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from vos_zoo.demo import demo_clip
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.media.reader import open_video
from vos_zoo.runtime import GraphSession
from vos_zoo.runtime.resize import nearest, resize_frame, resize_plane

pytestmark = pytest.mark.browser

LIVE = Path(__file__).parents[2] / "docs" / "live"
MOST_DIFFERENT = 1e-3  # of the labels: both sum in float32, in other orders


def load(name):
    """Load a program that lies beside the page, which is not installed."""
    spec = importlib.util.spec_from_file_location(f"live_{name}", LIVE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build():
    return load("build")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, build):
    """The page with everything that belongs to it."""
    if "VOS_ZOO_LIVE" in os.environ:
        return Path(os.environ["VOS_ZOO_LIVE"])
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, which fetches ONNX Runtime for the page")
    place = tmp_path_factory.mktemp("live")
    build.build(place)
    return place


@pytest.fixture(scope="module")
def serve():
    """Give the address of a folder; all servers end with the tests."""
    program, running = load("serve"), []

    def start(directory):
        server = program.open_server(directory)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def visit(browser, serve):
    """Open a folder's page, and see to it that it asks no other host and reports no error of its own."""
    pages = []

    def open_page(directory, **options):
        address = serve(directory)
        page = browser.new_page(**options)
        hosts, failures = set(), []
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: failures.append(error))
        page.goto(address + "index.html")
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        pages.append((page, address, hosts, failures))
        return page

    yield open_page
    for page, address, hosts, failures in pages:
        assert failures == []
        assert hosts - {""} == {urlsplit(address).netloc}  # blobs and data have no host
        page.close()


def idle(page):
    """Wait until the page has finished what it does."""
    page.wait_for_selector("body[data-busy=false]", timeout=240_000)


def bird(number):
    """Frames of the bundled clip, and the mask of the first one."""
    clip = demo_clip()
    return [frame.image for frame in open_video(clip.video, end=number)], read_mask(clip.first_mask)


def upright():
    """Two objects on small upright frames, which the network sees enlarged."""
    noise = np.random.default_rng(0).integers(90, 140, (150, 100, 3), dtype=np.uint8)
    frames = []
    for number in range(5):
        frame = noise.copy()
        frame[20:60, 10 + 4 * number : 50 + 4 * number] = (220, 50, 40)
        frame[90 - 3 * number : 130 - 3 * number, 40:80] = (40, 70, 220)
        frames.append(frame)
    mask = np.zeros((150, 100), np.uint8)
    mask[20:60, 10:50], mask[90:130, 40:80] = 3, 5
    return frames, mask


@pytest.mark.parametrize("clip", [pytest.param(lambda: bird(7), id="bird"), pytest.param(upright, id="upright")])
def test_masks_are_those_of_the_runtime(visit, folder, tmp_path, clip):
    frames, first = clip()
    paths = [tmp_path / f"frame{number}.png" for number in range(len(frames))]
    for frame, path in zip(frames, paths, strict=True):
        Image.fromarray(frame).save(path)
    write_mask(tmp_path / "first.png", first)

    page = visit(folder)
    page.set_input_files("#files", paths)
    idle(page)
    page.set_input_files("#mask-file", tmp_path / "first.png")
    idle(page)
    page.select_option("#detail", "low")
    page.click("#follow")
    page.wait_for_selector("#stop:visible")
    idle(page)
    assert page.text_content("#message") == ""
    assert "WebAssembly" in page.text_content("#progress-text")
    with page.expect_download() as download:
        page.click("#download")
    found = read_zip(download.value.path())

    session = GraphSession(folder / "graphs", size=240)
    expected = [session.step(frame, first if number == 0 else None).mask for number, frame in enumerate(frames)]
    assert list(found) == [path.name for path in paths]
    np.testing.assert_array_equal(next(iter(found.values())), first)
    for mask, other in zip(found.values(), expected, strict=True):
        assert mask.shape == other.shape
        assert (mask != other).mean() <= MOST_DIFFERENT
    assert {int(value) for value in np.unique(other)} == {0, *map(int, np.unique(first[first > 0]))}


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        images = {name: Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    assert all(image.mode == "P" for image in images.values())
    return {name: np.asarray(image) for name, image in images.items()}


def test_example_box_follow_stop_correct_download(visit, folder):
    page = visit(folder, viewport={"width": 390, "height": 844})
    page.click("#example")
    idle(page)
    assert page.text_content("#clip-facts") == "106 frames, 24 per second, 854×480"
    page.click("#clear")
    assert page.is_disabled("#follow")

    first = read_mask(demo_clip().first_mask)
    rows, columns = np.nonzero(first)
    page.locator("#overlay").scroll_into_view_if_needed()
    area = page.locator("#overlay").bounding_box()
    scale = area["width"] / first.shape[1]
    page.mouse.move(area["x"] + scale * columns.min(), area["y"] + scale * rows.min())
    page.mouse.down()
    page.mouse.move(area["x"] + scale * columns.max(), area["y"] + scale * rows.max(), steps=4)
    page.mouse.up()
    idle(page)
    assert page.text_content("#message") == ""

    page.select_option("#detail", "low")
    page.click("#follow")
    page.wait_for_function(
        "document.getElementById('progress-text').textContent.startsWith('3 of 105')", timeout=240_000
    )
    page.keyboard.press("Escape")
    idle(page)
    assert "are kept" in page.text_content("#message")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.getElementById('position').value < 4")
    with page.expect_download() as download:
        page.click("#download")
    found = read_zip(download.value.path())
    assert list(found)[:3] == ["00000.png", "00001.png", "00002.png"]
    assert 4 <= len(found) < 12
    for mask in list(found.values())[:4]:
        assert overlap(mask == 1, first == 1) > 0.8  # the bird hardly moves in these frames
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def test_brush_eraser_undo_and_objects(visit, folder, tmp_path):
    for number in range(2):
        Image.fromarray(np.full((80, 120, 3), 90, np.uint8)).save(tmp_path / f"{number}.png")
    page = visit(folder, viewport={"width": 800, "height": 1200})
    page.set_input_files("#files", [tmp_path / "0.png", tmp_path / "1.png"])
    idle(page)
    area = page.locator("#overlay").bounding_box()

    def stroke(row):
        page.mouse.move(area["x"] + 0.2 * area["width"], area["y"] + row * area["height"])
        page.mouse.down()
        page.mouse.move(area["x"] + 0.8 * area["width"], area["y"] + row * area["height"], steps=5)
        page.mouse.up()

    page.keyboard.press("p")
    stroke(0.3)
    page.click("#add-object")
    stroke(0.7)
    page.keyboard.press("e")
    stroke(0.3)
    page.keyboard.press("z")
    with page.expect_download() as download:
        page.keyboard.press("ArrowRight")  # what was drawn is kept with its frame
        page.wait_for_function("document.getElementById('position').value === '1'")
        page.click("#download")
    (mask,) = read_zip(download.value.path()).values()
    assert np.unique(mask).tolist() == [0, 1, 2]
    assert mask[24, 60] == 1
    assert mask[56, 60] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"no video", "0 videos were found among 1 files"),
        ("clip.mp4", b"no video", "cannot decode clip.mp4"),
        ("image.png", b"no image", "cannot decode image.png"),
    ],
)
def test_what_cannot_be_read(visit, folder, name, content, message):
    page = visit(folder)
    kind = mimetypes.guess_type(name)[0]
    page.set_input_files("#files", {"name": name, "mimeType": kind, "buffer": content})
    idle(page)
    assert message in page.text_content("#message")


def test_a_mask_that_does_not_fit(visit, folder, tmp_path):
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "frame.png")
    write_mask(tmp_path / "large.png", np.ones((48, 64), np.uint8))
    page = visit(folder)
    page.set_input_files("#files", tmp_path / "frame.png")
    idle(page)
    for path, message in (("large.png", "is 64x48 pixels, the frames are 60x40"), ("frame.png", "colour channels")):
        page.set_input_files("#mask-file", tmp_path / path)
        idle(page)
        assert message in page.text_content("#message")


def test_a_page_that_was_not_built_says_so(visit, build, tmp_path):
    build.copy_page(tmp_path)
    page = visit(tmp_path)
    assert "run `python docs/live/build.py`" in page.text_content("#message")
    assert page.is_disabled("#files")


def test_an_archive_that_is_not_the_one(build, tmp_path):
    (tmp_path / "other.tgz").write_bytes(b"something else")
    assert build.main(["--out", str(tmp_path / "out"), "--runtime", str(tmp_path / "other.tgz")]) == 1
    assert not (tmp_path / "out").exists()


def test_the_page_fits_its_limit(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 60 * 10**6


@pytest.mark.parametrize(
    ("size", "result"),
    [((48, 85), (24, 43)), ((48, 86), (24, 43)), ((37, 61), (74, 122)), ((50, 33), (31, 40)), ((41, 53), (41, 70))],
    ids=["area", "half", "cubic", "area_linear", "one side"],
)
def test_resampling_is_that_of_the_runtime(visit, folder, size, result):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    plane = pixels[..., 0].astype(np.float32) / 255
    frame, smooth, places = visit(folder).evaluate(
        """async ([pixels, plane, size, result]) => {
            const { nearest, resizeFrame, resizePlane } = await import("./runtime/resize.js");
            return [
                [...resizeFrame(Uint8Array.from(pixels), size, result)],
                [...resizePlane(Float32Array.from(plane), size, result)],
                [...nearest(size[1], result[1])],
            ];
        }""",
        [pixels.ravel().tolist(), plane.ravel().tolist(), list(size), list(result)],
    )
    np.testing.assert_array_equal(np.reshape(frame, (*result, 3)), resize_frame(pixels, result))
    np.testing.assert_allclose(np.reshape(smooth, result), resize_plane(plane, result), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(places, nearest(size[1], result[1]))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_masks_are_read_as_they_are_stored(visit, folder, mode):
    ids = np.random.default_rng(2).integers(0, 2 if mode == "1" else 7, (33, 45), dtype=np.uint8)
    ids[:, 20:] = ids[:1, 20:]  # rows that a PNG stores as differences
    image = Image.fromarray(ids == 1) if mode == "1" else Image.fromarray(ids)
    if mode == "P":
        image.putpalette(list(range(21)))  # seven colours, of four bits each
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    found = visit(folder).evaluate(
        """async (bytes) => {
            const { readMask } = await import("./masks.js");
            return [...(await readMask(Uint8Array.from(bytes), "mask.png")).ids];
        }""",
        list(file.getvalue()),
    )
    np.testing.assert_array_equal(np.reshape(found, ids.shape), ids)
