"""The page of a review holds everything itself, and shows the frames that are most worth a correction."""

from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from testing.clips import FRAMES
from vos_zoo import segment_video, write_review
from vos_zoo.cli.main import main
from vos_zoo.errors import ConfigError, MissingFileError, OutputExistsError
from vos_zoo.inference.confidence import ObjectState
from vos_zoo.models.load import load_model
from vos_zoo.segmentation.confidence import ObjectRow, flag_all
from vos_zoo.segmentation.review import doubtful_frames


class Page(HTMLParser):
    """Collects what a page asks for and its texts."""

    def __init__(self, content):
        super().__init__()
        self.addresses, self.images, self.open, self.tags = [], [], [], []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href"):
                (self.images if tag == "img" else self.addresses).append(value)


@pytest.fixture(scope="module")
def run(small_clip, tiny_model, tmp_path_factory):
    """A finished run over a copy of the clip."""
    place = tmp_path_factory.mktemp("review")
    shutil.copytree(small_clip.frames, place / "frames")
    segment_video(
        place / "frames", small_clip.given, out=place / "masks", model=load_model(tiny_model, device="cpu"), size=32
    )
    return place


def test_the_page_stands_for_itself(run):
    review = write_review(run / "masks", overwrite=True)
    content = review.page.read_text(encoding="utf-8")
    page = Page(content)
    assert review.page == run / "masks" / "review.html"
    assert review.objects == (1, 7)
    assert page.tags.count("svg") == 2
    assert len(page.images) == len(review.frames) == FRAMES - 2  # frames 0 and 3 were given
    for image in page.images:
        picture = Image.open(io.BytesIO(base64.b64decode(image.removeprefix("data:image/jpeg;base64,"))))
        assert picture.size == (64, 48)
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"(src|href)=\"https?:", content)
    assert "<script" not in content
    for frame in review.frames:
        assert f"Frame {frame.name}" in content


def test_the_same_run_makes_the_same_page(run, tmp_path):
    pages = [write_review(run / "masks", out=tmp_path / f"{name}.html").page.read_text() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_nothing_is_replaced_unasked(run, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"page\.html` exists"):
        write_review(run / "masks", out=page)
    assert page.read_text() == "mine"
    with pytest.raises(OutputExistsError, match="is an input"):
        write_review(run / "masks", out=run / "frames" / "00000.png", overwrite=True)


def test_what_is_missing_is_named(run, small_clip, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run / "masks", copy)
    (copy / "objects.csv").unlink()
    with pytest.raises(MissingFileError, match=r"objects\.csv"):
        write_review(copy, out=tmp_path / "a.html")
    (copy / "objects.csv").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"objects\.csv` is damaged"):
        write_review(copy, out=tmp_path / "a.html")
    with pytest.raises(MissingFileError, match="no folder"):
        write_review(tmp_path / "none")
    moved = tmp_path / "moved"
    shutil.copytree(run / "masks", moved)
    note = moved / "run.json"
    note.write_text(note.read_text().replace(str(run / "frames"), str(run / "gone")))
    with pytest.raises(MissingFileError, match="--video"):
        write_review(moved, out=tmp_path / "a.html")
    assert write_review(moved, video=small_clip.frames, out=tmp_path / "a.html").page.is_file()


def test_the_command_does_the_same(run, tmp_path, capsys):
    words = ["review", str(run / "masks"), "--out", str(tmp_path / "page.html")]
    assert main(words) == 0
    assert "6 frames to look at in" in capsys.readouterr().out
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def rows(areas, object_id=1, margins=None, given=(0,)):
    return [
        ObjectRow(
            number,
            f"{number:05d}",
            ObjectState(object_id, area, (0, 0, 1, 1), (0.5, 0.5), 0.9, 0.8 if margins is None else margins[number]),
            number in given,
        )
        for number, area in enumerate(areas)
    ]


def test_the_frame_where_an_object_gets_lost_comes_first():
    areas = [100] * 40 + [0] * 20 + [100] * 40
    chosen = doubtful_frames(flag_all(rows(areas)), most=1)
    assert [(one.frame, one.name) for one in chosen] == [(40, "00040")]
    assert chosen[0].reasons == ("object 1: no pixel",)


def test_frames_lie_apart_and_given_ones_are_left_out():
    margins = np.full(100, 0.9)
    margins[50:60] = 0.1
    chosen = doubtful_frames(flag_all(rows([100] * 100, margins=margins, given=(0, 50, 51))), most=10)
    frames = [one.frame for one in chosen]
    assert frames == sorted(frames)
    assert min(np.diff(frames)) > 99 / 40
    assert not {0, 50, 51} & set(frames)
    assert {52, 55, 58} <= set(frames)


def test_nothing_to_review_is_an_empty_choice():
    assert doubtful_frames([]) == []
    assert doubtful_frames(flag_all(rows([100], given=(0,)))) == []
