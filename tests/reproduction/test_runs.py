import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from testing.data_roots import davis_root, youtube_vos_root
from vos_zoo.errors import ConfigError, DataError, MissingFileError, OutputExistsError
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.metrics import EvaluationReport
from vos_zoo.metrics.breakdowns import BreakdownRow
from vos_zoo.metrics.functional import Statistics
from vos_zoo.metrics.protocols import PROTOCOLS, ObjectScore, get_protocol
from vos_zoo.models.dmn_aoa import DMNAOAModule
from vos_zoo.models.dmn_aoa.precompute import propose_video
from vos_zoo.models.load import load_model
from vos_zoo.reproduction.runs import RowRun, VideoRecord, measured_values, new_objects
from vos_zoo.reproduction.tables import PERCENT_MEASURES, RATE_MEASURES, find_table, paper_tables
from vos_zoo.reproduction.videos import find_videos

DAVIS = find_table("rde.table5").rows[0].data
YOUTUBE_VOS = find_table("rde.table4").rows[0].data
OPTIONS = {"size": 32}


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu")


def segment(run, model, videos, data=DAVIS, count=lambda _: None):
    run.segment(model, videos, get_protocol(data.protocol), options=OPTIONS, progress=count)


def test_every_frame_gets_a_mask_and_objects_are_given_when_they_appear(tmp_path, small_clip, model):
    videos = find_videos(davis_root(tmp_path / "root", small_clip), DAVIS)
    run, frames = RowRun(tmp_path / "row", {}), []
    segment(run, model, videos, count=frames.append)
    assert sum(frames) == 16
    record = run.records["two"]
    assert (record.frames, record.has_truth, run.device) == (8, True, "cpu")
    assert record.seconds > 0
    assert record.memory_bytes > 0
    for name, ids in (("00000", {1}), ("00003", {1, 7})):
        mask, truth = (read_mask(folder / f"{name}.png") for folder in (run.masks / "two", small_clip.masks))
        newest = max(ids)
        np.testing.assert_array_equal(mask == newest, truth == newest)  # given masks come back exactly


def test_finished_videos_are_kept(tmp_path, small_clip, model):
    videos = find_videos(davis_root(tmp_path / "root", small_clip), DAVIS)

    class StopError(Exception):
        pass

    def stop_in_the_second_video(_):
        frames.append(1)
        if len(frames) == 10:
            raise StopError

    frames = []
    with pytest.raises(StopError):
        segment(RowRun(tmp_path / "row", {"size": (32,)}), model, videos, count=stop_in_the_second_video)
    run = RowRun(tmp_path / "row", {"size": (32,)})
    assert run.records.keys() == {"one"}
    frames.clear()
    segment(run, model, videos, count=lambda _: frames.append(1))
    assert len(frames) == 8
    assert RowRun(tmp_path / "row", {"size": (32,)}).records == run.records


def test_a_row_goes_on_with_the_same_settings_only(tmp_path, small_clip, model):
    videos = find_videos(davis_root(tmp_path / "root", small_clip, names=("one",)), DAVIS)
    segment(RowRun(tmp_path / "row", {"weight": "a"}), model, videos)
    with pytest.raises(OutputExistsError, match=r"weight 'a', now 'b'.*`--overwrite`"):
        RowRun(tmp_path / "row", {"weight": "b"})
    assert not RowRun(tmp_path / "row", {"weight": "b"}, overwrite=True).records
    (tmp_path / "row" / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        RowRun(tmp_path / "row", {"weight": "a"})


def test_scores_are_written_once_and_read_again(tmp_path, small_clip, model, monkeypatch):
    videos = find_videos(davis_root(tmp_path / "root", small_clip, names=("one",)), DAVIS)
    run = RowRun(tmp_path / "row", {})
    segment(run, model, videos)
    report = run.report(videos, DAVIS)
    assert {score.name for score in report.scored_objects} == {"one_1", "one_7"}
    assert {row.breakdown for row in report.breakdowns} == {"length", "occlusion"}
    monkeypatch.setattr("vos_zoo.reproduction.runs.evaluate", None)
    assert run.report(videos, DAVIS).j_and_f == report.j_and_f


def test_test_sets_are_not_scored_here(tmp_path, small_clip, model):
    root = youtube_vos_root(tmp_path / "root", small_clip, with_truth=False)
    videos = find_videos(root, YOUTUBE_VOS)
    run = RowRun(tmp_path / "row", {})
    segment(run, model, videos, YOUTUBE_VOS)
    assert run.report(videos, YOUTUBE_VOS) is None
    assert len(list((run.masks / "one").glob("*.png"))) == 8


def test_seen_and_unseen_objects_make_the_scores_of_youtube_vos(tmp_path, small_clip, model):
    videos = find_videos(youtube_vos_root(tmp_path / "root", small_clip), YOUTUBE_VOS)
    run = RowRun(tmp_path / "row", {})
    segment(run, model, videos, YOUTUBE_VOS)
    report = run.report(videos, YOUTUBE_VOS)
    values = measured_values(report, list(run.records.values()))
    cat, okapi = sorted(report.objects, key=lambda score: score.object_id)
    assert values["J seen"] == pytest.approx(100 * cat.region.mean)
    assert values["F unseen"] == pytest.approx(100 * okapi.boundary.mean)
    parts = [cat.region.mean, cat.boundary.mean, okapi.region.mean, okapi.boundary.mean]
    assert values["G"] == values["J&F"] == pytest.approx(100 * sum(parts) / 4)
    assert values["J"] == pytest.approx(100 * (parts[0] + parts[2]) / 2)


def test_values_go_by_the_names_of_the_tables():
    region, boundary = Statistics(0.5, 0.6, 0.1), Statistics(0.7, 0.8, 0.2)
    score = ObjectScore("a", 1, "0", ("1",), (0.5,), (0.7,), (9, 9), 3, region, boundary)
    rows = (
        BreakdownRow("length", "t < 10", 0.1, 0.2, 1, 1),
        BreakdownRow("length", "t > 20", math.nan, math.nan, 0, 0),
        BreakdownRow("occlusion", "all", 0.5, 0.5, 1, 1),
        BreakdownRow("occlusion", "area <= 50", 0.3, 0.5, 1, 1),
    )
    report = EvaluationReport("davis2017", "val", 0.008, ("a",), (score,), ((),), rows)
    records = [VideoRecord("a", 10, 2.0, 1, True), VideoRecord("b", 30, 3.0, 1, True)]
    values = measured_values(report, records)
    assert values == pytest.approx(
        {
            "frames/s": 8.0, "s/frame": 0.125, "J": 50, "J recall": 60, "J decay": 10, "F": 70, "F recall": 80,
            "F decay": 20, "J&F": 60, "J t<10": 10, "F t<10": 20, "J&F area<=50": 40,
            "J&F 1 object": 60, "frames/s 1 object": 5.0,
        }
    )  # fmt: skip
    assert measured_values(None, records).keys() == {"frames/s", "s/frame"}
    assert measured_values(None, []) == {}
    assert values.keys() - set(RATE_MEASURES) <= set(PERCENT_MEASURES)
    assert {m for table in paper_tables().values() for m in table.measures} >= {"J t<10", "J&F area<=50"}


def test_scores_and_speed_go_by_the_number_of_objects():
    """GIEL's Figure 1b."""

    def score(sequence, number, value):
        statistics = Statistics(value, 0.0, 0.0)
        return ObjectScore(sequence, number, "0", ("1",), (value,), (value,), (9, 9), 3, statistics, statistics)

    scores = (score("a", 1, 0.9), score("b", 1, 0.6), score("b", 2, 0.4), score("c", 1, 0.8), score("c", 3, 0.6))
    report = EvaluationReport("davis2017", "val", 0.008, ("a", "b", "c"), scores, ((), (), ()), ())
    records = [VideoRecord(name, frames, 2.0, 1, True) for name, frames in (("a", 40), ("b", 10), ("c", 30))]
    values = measured_values(report, records)
    found = {measure: values.get(measure) for measure in find_table("giel.figure1").measures}
    nothing = {f"{measure} {count} objects": None for measure in ("J&F", "frames/s") for count in (3, 4, 5)}
    expected = {"J&F 1 object": 90, "frames/s 1 object": 20, "J&F 2 objects": 60, "frames/s 2 objects": 10} | nothing
    assert {key: value for key, value in found.items() if value is not None} == pytest.approx(
        {key: value for key, value in expected.items() if value is not None}
    )
    assert found.keys() == expected.keys()


def test_frames_of_the_full_resolution_give_masks_of_the_standard_one(tmp_path, small_clip, model):
    root = davis_root(tmp_path / "root", small_clip, names=("one",))
    for folder in ("JPEGImages", "Annotations"):
        (root / folder / "Full-Resolution" / "one").mkdir(parents=True)
    for path in small_clip.frames.iterdir():
        image = Image.open(path)
        image.resize((2 * image.width, 2 * image.height)).save(
            root / "JPEGImages" / "Full-Resolution" / "one" / path.name
        )
    for path in small_clip.masks.iterdir():
        write_mask(
            root / "Annotations" / "Full-Resolution" / "one" / path.name, read_mask(path).repeat(2, 0).repeat(2, 1)
        )
    videos = find_videos(root, DAVIS, resolution="Full-Resolution")
    run = RowRun(tmp_path / "row", {})
    segment(run, model, videos)
    size = read_mask(small_clip.masks / "00000.png").shape
    assert {read_mask(path).shape for path in (run.masks / "one").iterdir()} == {size}
    np.testing.assert_array_equal(
        read_mask(run.masks / "one" / "00000.png") == 1, read_mask(small_clip.masks / "00000.png") == 1
    )
    assert run.report(videos, DAVIS).region.mean >= 0
    shutil.rmtree(root / "JPEGImages" / "Full-Resolution")
    with pytest.raises(DataError, match=r"Full-Resolution`, whose frames are asked for.*--resolution 480p"):
        find_videos(root, DAVIS, resolution="Full-Resolution")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_white_is_an_object_in_black_and_white_annotations_only(protocol):
    annotation = np.array([[0, 255, 3]], np.uint8)
    known: set[int] = set()
    given = new_objects(annotation, known, get_protocol(protocol))
    assert given.tolist() == [[0, 1, 1] if protocol == "davis2016" else [0, 0, 3]]
    assert new_objects(annotation, known, get_protocol(protocol)) is None
    assert new_objects(None, known, get_protocol(protocol)) is None


def test_black_and_white_annotations_of_davis_2016_are_one_object(tmp_path, small_clip, model):
    root = davis_root(tmp_path / "root", small_clip, names=("one",), lists=("2016/val",))
    for path in (root / "Annotations" / "480p" / "one").iterdir():
        write_mask(path, (read_mask(path) == 1).astype(np.uint8) * 255)
    data = find_table("rde.table3").rows[0].data
    videos = find_videos(root, data)
    run = RowRun(tmp_path / "row", {})
    segment(run, model, videos, data)
    assert run.report(videos, data).objects[0].object_id == 1
    assert json.loads((tmp_path / "row" / "run.json").read_text())["videos"][0]["has_truth"]


def test_dmn_aoa_chooses_from_given_proposals(tmp_path, small_clip, tiny_model):
    root = davis_root(tmp_path / "root", small_clip, names=("one",))
    videos = find_videos(root, DAVIS)
    proposals = tmp_path / "proposals"
    propose_video(videos.videos[0].frames, proposals, masks=small_clip.given, model=tiny_model, device="cpu", size=32)
    model = DMNAOAModule("tiny").eval()
    run = RowRun(tmp_path / "row", {})
    protocol = get_protocol("davis2017")
    run.segment(model, videos, protocol, options=OPTIONS, proposals=proposals, progress=lambda _: None)
    assert run.records["one"].frames == 8
    next((proposals / "one").glob("*5.npz")).unlink()
    with pytest.raises(MissingFileError, match=r"no proposals for 1 of 7 frames"):
        RowRun(tmp_path / "other", {}).segment(
            model, videos, protocol, options=OPTIONS, proposals=proposals, progress=lambda _: None
        )
