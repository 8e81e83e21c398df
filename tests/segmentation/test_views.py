"""Heat maps of a video, their table and their chart."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.inference.session import FrameView
from vos_zoo.media.frames import VideoFrame, read_image
from vos_zoo.segmentation.views import ViewWriter


def frame(index):
    return VideoFrame(index, f"{index:05d}", np.full((40, 60, 3), 90, np.uint8))


ROW = {"least": "0.000000", "first frame": "0.500000"}


def view(value, **means):
    """A map that is 0 on its left and ``value`` on its right half."""
    halves = np.repeat(np.array([[0, value]], np.float32), 30, axis=1)
    return FrameView(np.repeat(halves, 40, axis=0), {"memory": value / 2, **means})


def rows(folder):
    with (folder / "mean.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_frame_gets_a_picture_and_a_row(tmp_path):
    with ViewWriter(tmp_path / "routing", "routing") as writer:
        writer.write(frame(0), None)
        for index in (1, 2):
            writer.write(frame(index), view(0.25 * index, **{"first frame": 0.5}))
    assert sorted(path.name for path in writer.folder.iterdir()) == ["00001.jpg", "00002.jpg", "mean.csv", "mean.png"]
    assert rows(writer.folder) == [
        {**ROW, "frame": "1", "name": "00001", "most": "0.250000", "memory": "0.125000"},
        {**ROW, "frame": "2", "name": "00002", "most": "0.500000", "memory": "0.250000"},
    ]
    # Yellow is more, whatever the range: the right half of every picture is the brighter one.
    for index in (1, 2):
        picture = read_image(writer.folder / f"0000{index}.jpg")
        assert picture[:, 40:].mean() > picture[:, :20].mean() + 20
    height, width, _ = read_image(writer.folder / "mean.png").shape
    assert width > height > 400


def test_nothing_shown_leaves_nothing(tmp_path):
    with ViewWriter(tmp_path / "routing", "routing") as writer:
        writer.write(frame(0), None)
    assert not writer.folder.exists()


def stopped(writer):
    with writer:
        writer.write(frame(1), view(0.1))
        raise ZeroDivisionError


def test_an_error_loses_no_row_and_a_resumed_run_adds_to_them(tmp_path):
    with pytest.raises(ZeroDivisionError):
        stopped(ViewWriter(tmp_path, "routing"))
    with ViewWriter(tmp_path, "routing", resume=True) as writer:
        writer.write(frame(2), view(0.2))
    assert [row["most"] for row in rows(tmp_path)] == ["0.100000", "0.200000"]
    with ViewWriter(tmp_path, "routing") as writer:
        writer.write(frame(2), view(0.3))
    assert [row["most"] for row in rows(tmp_path)] == ["0.300000"]


@pytest.mark.parametrize("content", ["frame,name\nx,00001\n", "a,b\n1,2\n"])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "mean.csv").write_text(content)
    with pytest.raises(ConfigError, match="is damaged"):
        ViewWriter(tmp_path, "routing", resume=True)
