"""Where results, annotations, lists and meta files are looked for."""

import json
import shutil

import numpy as np
import pytest

from testing.generated_folders import EXACT, SHAPE, by_id, cases, layered, moving, square, write_cases, write_sequence
from vos_zoo.errors import EvaluationError, MissingFileError
from vos_zoo.metrics import evaluate


@pytest.mark.parametrize("layout", ["Annotations/480p", "Annotations", "480p", "."])
def test_data_set_roots_are_stepped_into(tmp_path, folders, reports, layout):
    shutil.copytree(folders[1], tmp_path / "root" / layout, dirs_exist_ok=True)
    found = evaluate(folders[0], tmp_path / "root")
    assert found.j_and_f == pytest.approx(reports["davis2017"].j_and_f, abs=EXACT)
    assert found.sequence_names == tuple(sorted(cases()))


def test_a_single_sequence_may_be_given_by_its_folders(folders):
    results, annotations = folders
    whole = evaluate(results, annotations, sequences=["noisy"])
    assert evaluate(results / "noisy", annotations / "noisy").objects == whole.objects
    assert evaluate(results, annotations / "noisy").objects == whole.objects


def test_sequences_come_from_a_davis_image_set(tmp_path):
    root = tmp_path / "davis"
    results, annotations = write_cases(tmp_path, ["noisy", "late", "void"])
    shutil.copytree(annotations, root / "Annotations" / "480p")
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("void\n\nnoisy\n")
    for path in (root, root / "Annotations", root / "Annotations" / "480p"):
        report = evaluate(results, path, sequences="val")
        assert report.sequence_names == ("void", "noisy")
        assert report.set_name == "val"
    from_file = evaluate(results, annotations, sequences=root / "ImageSets" / "2017" / "val.txt")
    assert from_file.sequence_names == ("void", "noisy")


def test_frames_are_ordered_by_number(tmp_path):
    masks = [square(10, 2 * t, 5) for t in range(12)]
    for side in ("results", "annotations"):
        write_sequence(tmp_path / side / "a", masks)
        for path in (tmp_path / side / "a").iterdir():
            path.rename(path.with_name(f"{int(path.stem)}.png"))
    report = evaluate(tmp_path / "results", tmp_path / "annotations")
    assert report.objects[0].frames == tuple(str(t) for t in range(1, 11))


class TestYouTubeVOS:
    """Objects, first frames and categories from a meta file."""

    @pytest.fixture
    def data(self, tmp_path):
        masks = [layered(m, square(25, 25, 8, 3)) if t >= 2 else m for t, m in enumerate(moving())]
        write_sequence(tmp_path / "annotations" / "a", masks)
        write_sequence(tmp_path / "results" / "a", moving(offset=1))
        frames = [f"{t:05d}" for t in range(7)]
        objects = {"1": {"category": "dog", "frames": frames}, "3": {"category": "sled", "frames": frames[3:6]}}
        meta = tmp_path / "meta.json"
        meta.write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
        return tmp_path / "results", tmp_path / "annotations", meta

    def test_objects_start_at_the_frame_that_the_meta_file_names(self, data):
        results, annotations, meta = data
        report = evaluate(results, annotations, protocol="youtube-vos", meta=meta)
        assert by_id(report, "a")[1].frames == tuple(f"{t:05d}" for t in range(1, 7))
        assert by_id(report, "a")[3].given_in == "00003"
        assert by_id(report, "a")[3].frames == ("00004", "00005")
        assert report.g is None

    @pytest.mark.parametrize("as_file", [False, True])
    def test_seen_and_unseen_objects_make_g(self, data, tmp_path, as_file):
        results, annotations, meta = data
        train = tmp_path / "train.json"
        train.write_text(json.dumps({"videos": {"x": {"objects": {"1": {"category": "dog", "frames": ["0"]}}}}}))
        seen = train if as_file else ["dog", "cat"]
        report = evaluate(results, annotations, protocol="youtube-vos", meta=meta, seen_categories=seen)
        dog, sled = (by_id(report, "a")[i] for i in (1, 3))
        assert (report.seen.region, report.seen.boundary) == (dog.region.mean, dog.boundary.mean)
        assert (report.unseen.region, report.unseen.boundary) == (sled.region.mean, sled.boundary.mean) == (0.0, 0.0)
        assert report.g == pytest.approx((dog.j_and_f + sled.j_and_f) / 2, abs=EXACT)
        assert "seen" in report.table()

    def test_without_a_meta_file_objects_come_from_the_annotations(self, data):
        report = evaluate(*data[:2], protocol="youtube-vos")
        assert by_id(report, "a")[3].frames == ("00003", "00004", "00005", "00006")
        assert report.seen is None

    def test_an_object_that_the_annotations_never_show_counts_from_its_first_listed_frame(self, data):
        results, annotations, meta = data
        content = json.loads(meta.read_text())
        content["videos"]["a"]["objects"]["8"] = {"frames": ["00002", "00003", "00004"]}
        meta.write_text(json.dumps(content))
        score = by_id(evaluate(results, annotations, protocol="youtube-vos", meta=meta), "a")[8]
        assert score.region_by_frame == (1.0, 1.0)  # absent from both sides
        assert score.is_seen is None

    def test_frames_before_the_first_object_need_no_result(self, tmp_path):
        masks = [np.zeros(SHAPE, np.uint8)] * 2 + moving(4)
        write_sequence(tmp_path / "annotations" / "a", masks)
        write_sequence(tmp_path / "results" / "a", masks)
        for name in ("00000", "00001", "00002"):
            (tmp_path / "results" / "a" / f"{name}.png").unlink()
        report = evaluate(tmp_path / "results", tmp_path / "annotations", protocol="youtube-vos")
        assert report.objects[0].frames == ("00003", "00004", "00005")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is not JSON"),
            ("[]", "no `videos`"),
            ('{"videos": {"a": {}}}', "no `objects` in video `a`"),
            ('{"videos": {"a": {"objects": {"1": {}}}}}', "no list `frames` for object 1 of video `a`"),
            ('{"videos": {"a": {"objects": {"1": {"frames": [3]}}}}}', "no list `frames`"),
            ('{"videos": {"a": {"objects": {"dog": {"frames": []}}}}}', "object dog of video `a`"),
            ('{"videos": {"b": {"objects": {}}}}', "lacks the sequence `a`"),
        ],
    )
    def test_wrong_meta_files_are_refused(self, data, content, message):
        data[2].write_text(content)
        with pytest.raises(EvaluationError, match=message):
            evaluate(*data[:2], protocol="youtube-vos", meta=data[2])

    def test_a_missing_meta_file_is_named(self, data, tmp_path):
        with pytest.raises(MissingFileError, match=r"nowhere\.json"):
            evaluate(*data[:2], protocol="youtube-vos", meta=tmp_path / "nowhere.json")
