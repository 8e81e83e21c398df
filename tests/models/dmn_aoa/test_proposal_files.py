"""Files of proposals: written, read back, placed in the working frame; damaged ones are named."""

import json

import numpy as np
import pytest
import torch

from testing.dmn_aoa import request
from vos_zoo.errors import ConfigError, DataError, MissingFileError
from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.models.dmn_aoa.proposal_files import (
    FolderProposals,
    StoredProposals,
    place_proposals,
    read_proposals,
    store_proposals,
    write_index,
    write_proposals,
)
from vos_zoo.models.dmn_aoa.proposals import Proposals


def stored(count=2, size=(60, 90)):
    grids = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    boxes = np.array([[10, 10, 40, 40], [50, 20, 80, 50]], np.float32)[:count]
    scores = np.array([0.3, 0.8], np.float32)[:count]
    return StoredProposals(size, boxes, scores, np.zeros(count, np.int64), grids)


def test_files_give_back_what_was_written(tmp_path):
    original = stored()
    write_proposals(tmp_path / "video" / "00000.npz", original)
    write_index(tmp_path, generator="test", frames=1, settings={"top_k": 30})
    found = read_proposals(tmp_path / "video" / "00000.npz")
    assert found.size == (60, 90)
    assert found.scores.tolist() == pytest.approx([0.8, 0.3])
    assert (found.grids[::-1] == original.grids).all()
    assert json.loads((tmp_path / "proposals.json").read_text())["frames"] == 1
    assert [path.name for path in (tmp_path / "video").iterdir()] == ["00000.npz"]


def test_files_are_placed_in_the_working_frame(tmp_path):
    full = StoredProposals(
        (60, 90),
        np.array([[30, 15, 60, 45]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        np.full((1, 28, 28), 255, np.uint8),
    )
    write_proposals(tmp_path / "00000.npz", full)
    write_proposals(tmp_path / "00001.npz", stored(0))
    source = FolderProposals(tmp_path, size=30)
    working = torch.zeros(1, 32, 48)  # 30x45 pixels, padded
    found = source(request(working, index=0))
    geometry = FrameGeometry.fit((60, 90), 30, 16)
    left, _, top, _ = geometry.padding
    x1, y1, x2, y2 = found.boxes[0].tolist()
    assert [x1 - left, y1 - top, x2 - left, y2 - top] == pytest.approx([15, 7.5, 30, 22.5], abs=1)
    assert len(source(request(working, index=1))) == 0
    with pytest.raises(MissingFileError, match="frame 2"):
        source(request(working, index=2))
    assert len(FolderProposals(tmp_path, size=30, missing="empty")(request(working, index=2))) == 0
    with pytest.raises(DataError, match="90x60"):
        source(request(torch.zeros(1, 64, 64), index=0))


@pytest.mark.parametrize("box", [[40, 10, 40, 30], [40, 10, 10, 30], [np.nan, 0, 10, 10]])
def test_degenerate_boxes_are_left_out(box):
    proposals = stored(1)
    proposals.boxes[0] = box
    geometry = FrameGeometry.fit((60, 90), None, 16)
    assert len(place_proposals(proposals, geometry, torch.zeros(1))) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable"),
        (b"not an archive", "not a readable"),
        ({"version": np.int32(1)}, "lacks boxes"),
        (
            {"version": np.int32(2)} | dict.fromkeys(("size", "boxes", "scores", "labels", "masks"), np.zeros(2)),
            "version",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "00000.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(DataError, match=message):
        read_proposals(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    wrong = stored()
    with pytest.raises(DataError, match="masks"):
        write_proposals(
            tmp_path / "a.npz", StoredProposals(wrong.size, wrong.boxes, wrong.scores, wrong.labels, wrong.grids[:1])
        )


@pytest.mark.parametrize("content", ["{", '{"format": 1}', '{"format": 9, "settings": {}}', "[]"])
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / "proposals.json").write_text(content)
    (tmp_path / "clip").mkdir()
    with pytest.raises(DataError, match=r"proposals\.json"):
        FolderProposals.open(tmp_path / "clip")


def test_stored_masks_come_back():
    """What is written and read again is the proposal, as far as 28 cells can show it."""
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    mask = (((rows - 40) / 25) ** 2 + ((columns - 60) / 35) ** 2 <= 1).float()
    boxes = torch.tensor([[25.0, 15, 96, 66]])
    geometry = FrameGeometry((192, 240), (96, 120), (4, 4, 0, 0))
    stored = store_proposals(Proposals(boxes, torch.ones(1), mask[None]), geometry)
    np.testing.assert_allclose(stored.boxes[0], [42, 30, 184, 132])
    placed = place_proposals(stored, geometry, torch.zeros(1))
    torch.testing.assert_close(placed.boxes, boxes)
    both = ((placed.masks[0] > 0.5) & (mask > 0.5)).sum() / ((placed.masks[0] > 0.5) | (mask > 0.5)).sum()
    assert both > 0.96


def test_another_rule_for_missing_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"missing is 'skip'. Expected one of 'error', 'empty'"):
        FolderProposals(tmp_path, missing="skip")
