"""Proposals on disk: made from a video, read back by a session, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from testing.checkpoints import save_tiny
from testing.clips import FRAMES, HEIGHT, LATE_FRAME, WIDTH
from vos_zoo.cli.main import main
from vos_zoo.errors import (
    ConfigError,
    DataError,
    MissingFileError,
    OutputExistsError,
    OutputInUseError,
)
from vos_zoo.files import folder_lock
from vos_zoo.media.masks import read_mask
from vos_zoo.models.dmn_aoa import precompute
from vos_zoo.models.dmn_aoa.precompute import propose_video
from vos_zoo.models.dmn_aoa.proposal_files import FolderProposals, StoredProposals, read_proposals, write_proposals
from vos_zoo.models.load import load_model
from vos_zoo.segmentation.video import segment_video

NAMES = [f"{index:05d}" for index in range(FRAMES)]
# In the given masks of frames 0 and 3 every object is annotated, so that nothing is left to propose there.
ASKED = [name for index, name in enumerate(NAMES) if index not in (0, LATE_FRAME)]


@pytest.fixture(scope="module")
def dmn_aoa(tmp_path_factory):
    return save_tiny("dmn_aoa", tmp_path_factory.mktemp("models"))


@pytest.fixture
def built(small_clip, tiny_model, tmp_path):
    """Arguments of a run of the built-in source."""
    return {
        "video": small_clip.frames,
        "out": tmp_path / "proposals",
        "masks": small_clip.given,
        "model": tiny_model,
        "device": "cpu",
        "size": 32,
    }


def test_every_frame_gets_a_file_around_the_frame_before(built, small_clip):
    calls = []
    report = propose_video(**built, progress=lambda *counts: calls.append(counts))
    assert report.folder == built["out"] / "frames"
    assert sorted(path.stem for path in report.folder.iterdir()) == NAMES
    assert calls == [(index + 1, FRAMES) for index in range(FRAMES)]
    stored = [read_proposals(report.folder / f"{name}.npz") for name in NAMES]
    assert len(stored[0].scores) == 0  # nothing is known before the first mask
    assert sum(len(frame.scores) for frame in stored) == report.proposals
    assert {frame.size for frame in stored} == {(HEIGHT, WIDTH)}
    # The first proposal of frame 1 is the mask of frame 0: its box is that of the square, to a pixel of 32.
    rows, columns = np.nonzero(read_mask(small_clip.first))
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(stored[1].boxes[0] - box).max() <= 48 / 32 + 0.5
    index = json.loads((built["out"] / "proposals.json").read_text())
    assert index["frames"] == FRAMES
    assert index["settings"]["nms_iou"] is None


def test_an_object_that_joins_late_is_proposed_from_then_on(built):
    folder = propose_video(**built).folder
    counts = [len(read_proposals(folder / f"{name}.npz").scores) for name in NAMES]
    assert counts[LATE_FRAME + 1] > counts[1]
    boxes = read_proposals(folder / f"{NAMES[LATE_FRAME + 1]}.npz").boxes
    assert any(box[1] > 24 for box in boxes)  # object 7 is in the lower half


def test_segment_reads_them_back(built, dmn_aoa, small_clip, tmp_path):
    folder = propose_video(**built).folder
    options = {"model": dmn_aoa, "device": "cpu", "size": 32}
    report = segment_video(
        small_clip.frames, small_clip.given, out=tmp_path / "a", side_inputs={"proposals": folder}, **options
    )
    assert report.frames == FRAMES
    settings = json.loads((tmp_path / "a" / "run.json").read_text())["settings"]
    assert settings["side_inputs"] == {"proposals": str(folder.resolve())}
    with pytest.raises(ConfigError, match="proposals"):
        segment_video(small_clip.frames, small_clip.given, out=tmp_path / "a", resume=True, **options)


@pytest.mark.parametrize("stop_at", [2, 5])
def test_a_resumed_run_reads_the_files_of_its_frames(built, dmn_aoa, small_clip, tmp_path, monkeypatch, stop_at):
    folder = propose_video(**built).folder
    read = []
    original = FolderProposals._path

    def watched(self, number):
        read.append(original(self, number).stem)
        return original(self, number)

    monkeypatch.setattr(FolderProposals, "_path", watched)

    def stop(done, total):
        if done == stop_at:
            raise KeyboardInterrupt

    options = {"out": tmp_path / "out", "model": dmn_aoa, "device": "cpu", "size": 32}
    options["side_inputs"] = {"proposals": folder}
    with pytest.raises(KeyboardInterrupt):
        segment_video(small_clip.frames, small_clip.given, progress=stop, **options)
    # The next frame is segmented while a mask is written.
    assert read == [name for name in ASKED if name <= NAMES[stop_at]]
    read.clear()
    segment_video(small_clip.frames, small_clip.given, resume=True, **options)
    assert [name for name in read if name >= NAMES[stop_at]] == [name for name in ASKED if name >= NAMES[stop_at]]


def test_other_models_take_no_proposals(built, tiny_model, small_clip, tmp_path):
    with pytest.raises(ConfigError, match="RDENetwork takes no 'proposals'"):
        segment_video(
            small_clip.frames,
            small_clip.first,
            out=tmp_path / "out",
            model=tiny_model,
            device="cpu",
            side_inputs={"proposals": tmp_path},
        )


def test_missing_files_are_named_before_anything_is_written(built, dmn_aoa, small_clip, tmp_path):
    folder = propose_video(**built).folder
    (folder / "00000.npz").unlink()  # the first annotated frame needs none
    options = {"out": tmp_path / "out", "model": dmn_aoa, "device": "cpu", "size": 32}
    segment_video(small_clip.frames, small_clip.given, side_inputs={"proposals": folder}, **options)
    (folder / "00005.npz").unlink()
    with pytest.raises(MissingFileError, match=r"no proposals for 1 of 7 frames, the first of them 00005\.npz"):
        segment_video(small_clip.frames, small_clip.given, side_inputs={"proposals": folder}, overwrite=True, **options)
    assert len(list((tmp_path / "out").glob("*.png"))) == FRAMES
    with pytest.raises(MissingFileError, match="There is no folder"):
        segment_video(
            small_clip.frames, small_clip.given, side_inputs={"proposals": tmp_path / "none"}, overwrite=True, **options
        )


def test_files_for_another_size_are_refused(built, dmn_aoa, small_clip, tmp_path):
    folder = propose_video(**built).folder
    other = StoredProposals((30, 90), *(np.zeros(shape, kind) for shape, kind in EMPTY))
    write_proposals(folder / "00002.npz", other)
    with pytest.raises(DataError, match="is for frames of 90x30 pixels"):
        segment_video(
            small_clip.frames,
            small_clip.first,
            out=tmp_path / "out",
            model=dmn_aoa,
            device="cpu",
            size=32,
            side_inputs={"proposals": folder},
        )
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


EMPTY = (((0, 4), np.float32), ((0,), np.float32), ((0,), np.int64), ((0, 28, 28), np.uint8))


def spoilt(box, score):
    """One proposal with this box and score beside a good one."""
    boxes = np.array([box, [4, 10, 30, 40]], np.float32)
    grids = np.full((2, 28, 28), 255, np.uint8)
    return StoredProposals((HEIGHT, WIDTH), boxes, np.array([score, 0.5], np.float32), np.zeros(2, np.int64), grids)


@pytest.mark.parametrize(
    ("box", "score"),
    [
        ([10, 10, 10, 10], 0.9),
        ([30, 10, 10, 40], 0.9),
        ([-200, -200, -100, -100], 0.9),
        ([1e9, 1e9, 2e9, 2e9], 0.9),
        ([-1e9, -1e9, 1e9, 1e9], 0.9),
        ([np.nan, 0, 10, 10], 0.9),
        ([0, 0, np.inf, 10], 0.9),
        ([4, 4, 20, 20], np.nan),
        ([4, 4, 20, 20], -np.inf),
    ],
)
def test_spoilt_proposals_do_no_harm(dmn_aoa, small_clip, tmp_path, box, score):
    for name in NAMES:
        write_proposals(tmp_path / "clip" / f"{name}.npz", spoilt(box, score))
    report = segment_video(
        small_clip.frames,
        small_clip.given,
        out=tmp_path / "out",
        model=dmn_aoa,
        device="cpu",
        size=32,
        side_inputs={"proposals": tmp_path / "clip"},
    )
    assert report.frames == FRAMES


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 200)])
@pytest.mark.parametrize("source", ["files", "builtin"])
def test_very_small_frames(dmn_aoa, tmp_path, size, source):
    model = load_model(dmn_aoa, device="cpu")
    for index in range(3):
        found = StoredProposals(
            size,
            np.array([[0, 0, size[1], size[0]]], np.float32),
            np.ones(1, np.float32),
            np.zeros(1, np.int64),
            np.full((1, 28, 28), 255, np.uint8),
        )
        write_proposals(tmp_path / f"{index}.npz", found)
    proposals = FolderProposals(tmp_path, size=None) if source == "files" else None
    session = model.session(size=None, side_inputs={"proposals": proposals})
    frame, mask = np.full((*size, 3), 128, np.uint8), np.zeros(size, np.int32)
    mask[0, 0] = 3
    session.step(frame, mask)
    for _ in range(2):
        result = session.step(frame)
        assert result.mask.shape == size
        assert result.probabilities.isfinite().all()


# Running it


def test_results_are_not_replaced_by_mistake(built):
    folder = propose_video(**built).folder
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OutputExistsError, match="holds proposals of 8 frames"):
        propose_video(**built)
    (folder / "00003.npz").unlink()
    assert propose_video(**built, resume=True).proposals > 0
    assert {path: path.read_bytes() for path in folder.iterdir()}.keys() == before.keys()
    assert propose_video(**built, resume=True).proposals == 0
    assert propose_video(**built, overwrite=True).frames == FRAMES
    with pytest.raises(DataError, match="come from 'propagated masks of"):
        propose_video(**{**built, "masks": None, "source": "maskrcnn"}, weights="none.pth", overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": None}, "give the mask of the first frame"),
        ({"source": "maskrcnn"}, "Leave the masks out"),
        ({"source": "yolo"}, "Source is 'yolo'"),
        ({"resume": True, "overwrite": True}, "Both resume and overwrite"),
    ],
)
def test_contradictions_are_refused(built, options, message):
    with pytest.raises(ConfigError, match=message):
        propose_video(**{**built, **options})
    assert not built["out"].exists()


class Detector:
    """Finds the left half of every frame."""

    seen = 0

    def __init__(self, weights, device):
        self.weights = weights

    def detect(self, image):
        type(self).seen += 1
        height, width = image.shape[:2]
        return StoredProposals(
            (height, width),
            np.array([[0, 0, width // 2, height]], np.float32),
            np.full(1, 0.7, np.float32),
            np.ones(1, np.int64),
            np.full((1, 28, 28), 200, np.uint8),
        )


def test_a_detector_needs_no_mask_and_goes_on_where_it_stopped(built, monkeypatch):
    monkeypatch.setattr(precompute, "MaskRCNNProposals", Detector)
    Detector.seen = 0
    arguments = {**built, "masks": None, "source": "maskrcnn", "weights": "file.pth"}
    report = propose_video(**arguments)
    assert (report.frames, report.proposals, Detector.seen) == (FRAMES, FRAMES, FRAMES)
    (report.folder / "00006.npz").unlink()
    assert propose_video(**arguments, resume=True).proposals == 1
    assert Detector.seen == FRAMES + 1
    index = json.loads((built["out"] / "proposals.json").read_text())
    assert index["generator"] == "torchvision maskrcnn_resnet50_fpn_v2, file.pth"
    assert FolderProposals.open(report.folder).nms_iou == 0.4


def test_a_detector_looks_at_pictures_of_any_size(tmp_path, monkeypatch):
    """Those that a stage on images trains on."""
    monkeypatch.setattr(precompute, "MaskRCNNProposals", Detector)
    sizes = {"a": (20, 30), "b": (40, 24)}
    (tmp_path / "train2017").mkdir()
    for name, (height, width) in sizes.items():
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / "train2017" / f"{name}.jpg")
    report = propose_video(tmp_path / "train2017", tmp_path / "out", source="maskrcnn", device="cpu")
    assert {path.stem: read_proposals(path).size for path in report.folder.iterdir()} == sizes


def test_the_command_says_how_to_go_on(built, capsys):
    arguments = ["proposals", str(built["video"]), str(built["masks"]), "--out", str(built["out"])]
    arguments += ["--model", str(built["model"]), "--device", "cpu", "--size", "32"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"8 frames have a file in {built['out'] / 'frames'}" in printed
    assert "--model dmn_aoa --side-input proposals=" in printed
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_proposals_do_not_go_among_the_frames(small_clip, tiny_model, tmp_path, capsys, more):
    frames = shutil.copytree(small_clip.frames, tmp_path / "videos" / "bear")
    words = ["proposals", str(frames), str(small_clip.first), "--out", str(tmp_path / "videos"), "--device", "cpu"]
    assert main([*words, "--model", str(tiny_model), *more]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "videos").rglob("*") if path.suffix != ".png" and path.is_file()]


def test_a_second_run_into_a_folder_is_refused(built):
    with folder_lock(built["out"] / "frames"), pytest.raises(OutputInUseError, match="Another run is writing into"):
        propose_video(**built)
    assert list((built["out"] / "frames").iterdir()) == []
