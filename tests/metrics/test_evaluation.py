import functools
import json
import math
import shutil
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from PIL import Image

from metrics import official_definition
from metrics.generated_folders import SHAPE, cases, layered, moving, square, write_cases, write_sequence
from vos_zoo.errors import ConfigError, EvaluationError, MaskError, MissingFileError
from vos_zoo.metrics import PROTOCOLS, evaluate
from vos_zoo.metrics import evaluation as evaluation_module

EXACT = 1e-9  # both sides count pixels; only the order of a few float operations differs

RULES = {
    "davis2017": {"binary": False, "skip_last": True},
    "davis2016": {"binary": True, "skip_last": True},
    "youtube-vos": {"binary": False, "skip_last": False},
}


# In the binary protocol no value is void, so the definition has nothing to say about these.
CASES = {name: [case for case in cases() if name != "davis2016" or "void" not in case] for name in RULES}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def reports(folders):
    return {name: evaluate(*folders, protocol=name, sequences=CASES[name]) for name in PROTOCOLS}


@pytest.fixture(scope="module")
def definition(folders):
    @functools.cache
    def scores(protocol, sequence):
        results, annotations = (folder / sequence for folder in folders)
        return official_definition.evaluate_sequence(results, annotations, **RULES[protocol])

    return scores


def by_id(report, sequence):
    return {score.object_id: score for score in report.objects if score.sequence == sequence}


@pytest.mark.parametrize(("protocol", "sequence"), [(name, case) for name in RULES for case in CASES[name]])
def test_every_case_equals_the_definition(definition, reports, sequence, protocol):
    expected = definition(protocol, sequence)
    found = by_id(reports[protocol], sequence)
    assert found.keys() == expected.keys()
    for object_id, (j_values, f_values) in expected.items():
        score = found[object_id]
        np.testing.assert_allclose(score.region_by_frame, j_values, atol=EXACT, rtol=0)
        np.testing.assert_allclose(score.boundary_by_frame, f_values, atol=EXACT, rtol=0)
        assert score.is_scored == bool(j_values)
        for statistics, values in ((score.region, j_values), (score.boundary, f_values)):
            numbers = (statistics.mean, statistics.recall, statistics.decay)
            expected_numbers = official_definition.statistics(values) if values else [math.nan] * 3
            np.testing.assert_allclose(numbers, expected_numbers, atol=EXACT, rtol=0)


@pytest.mark.parametrize("protocol", RULES)
def test_overall_scores_are_means_over_objects(definition, reports, protocol):
    rows = [
        [official_definition.statistics(values) for values in pair]
        for case in CASES[protocol]
        for pair in definition(protocol, case).values()
        if pair[0]
    ]
    report = reports[protocol]
    means = np.mean(rows, axis=0)
    for found, expected in zip((report.region, report.boundary), means, strict=True):
        np.testing.assert_allclose((found.mean, found.recall, found.decay), expected, atol=EXACT, rtol=0)
    assert report.j_and_f == pytest.approx(means[:, 0].mean(), abs=EXACT)
    assert len(report.scored_objects) == len(rows)


@pytest.mark.parametrize("bound", [0.05, 3])
def test_other_tolerances_equal_the_definition(folders, bound):
    report = evaluate(*folders, sequences=["noisy"], bound=bound)
    paths = [folder / "noisy" for folder in folders]
    for object_id, (_, f_values) in official_definition.evaluate_sequence(*paths, bound=bound).items():
        np.testing.assert_allclose(by_id(report, "noisy")[object_id].boundary_by_frame, f_values, atol=EXACT)


def test_the_first_and_last_frames_need_no_result(tmp_path):
    results, annotations = write_cases(tmp_path, ["noisy"])
    whole = evaluate(results, annotations)
    (results / "noisy" / "00000.png").unlink()
    (results / "noisy" / "00006.png").unlink()
    assert evaluate(results, annotations) == whole


def test_late_objects_are_scored_after_their_first_frame(reports):
    score = by_id(reports["davis2017"], "late")[5]
    assert score.given_in == "00003"
    assert score.frames == ("00004", "00005")
    assert score.annotated_frames == 4
    assert len(score.areas) == 3


def test_late_objects_can_be_ignored(folders):
    report = evaluate(*folders, sequences=["late", "gaps-in-ids"], late_objects=False)
    assert by_id(report, "late").keys() == {1}
    assert by_id(report, "gaps-in-ids").keys() == {1, 7}


def test_objects_given_in_the_last_frame_have_no_score(reports):
    score = by_id(reports["davis2017"], "given-in-last-frame")[4]
    assert not score.is_scored
    assert math.isnan(score.region.mean)
    assert score not in reports["davis2017"].scored_objects


def test_extra_ids_are_ignored_and_listed(reports):
    sequences = {sequence.name: sequence for sequence in reports["davis2017"].sequences}
    assert sequences["extra-object"].extra_ids == (9,)
    assert sequences["extra-object"].region == 1.0
    assert sequences["perfect"].extra_ids == ()


def test_a_sequence_without_objects_counts_nowhere(reports):
    sequence = next(s for s in reports["davis2017"].sequences if s.name == "no-object")
    assert sequence.objects == 0
    assert math.isnan(sequence.j_and_f)


def test_scores_do_not_depend_on_the_number_of_processes(folders, reports):
    steps = []
    found = evaluate(*folders, sequences=CASES["davis2017"], processes=2, progress=lambda *step: steps.append(step))
    assert str(found) == str(reports["davis2017"])  # by text, because NaN is unlike itself
    count = len(cases())
    assert [step[:2] for step in steps] == [(done, count) for done in range(1, count + 1)]
    assert {step[2] for step in steps} == cases().keys()


def test_errors_in_a_worker_process_arrive_whole(tmp_path):
    results, annotations = write_cases(tmp_path, ["noisy", "late"])
    (results / "noisy" / "00003.png").unlink()
    with pytest.raises(EvaluationError, match=r"no result .*noisy/00003\.png"):
        evaluate(results, annotations, processes=2)


def test_a_dying_worker_process_is_reported(folders, monkeypatch):
    class Executor:
        def __init__(self, *_args, **_kwargs):
            pass

        def submit(self, *_args):
            raise BrokenProcessPool

        def shutdown(self, **_kwargs):
            pass

    monkeypatch.setattr(evaluation_module, "ProcessPoolExecutor", Executor)
    with pytest.raises(EvaluationError, match="worker process ended"):
        evaluate(*folders, processes=2)


def test_progress_in_one_process(folders):
    steps = []
    evaluate(*folders, sequences=["late", "noisy"], progress=lambda *step: steps.append(step))
    assert steps == [(1, 2, "late"), (2, 2, "noisy")]


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


def test_black_and_white_results_of_one_object_are_read_as_that_object(tmp_path):
    write_sequence(tmp_path / "annotations" / "a", moving())
    (tmp_path / "results" / "a").mkdir(parents=True)
    for index, mask in enumerate(moving()):
        Image.fromarray(mask * np.uint8(255)).save(tmp_path / "results" / "a" / f"{index:05d}.png")
    assert evaluate(tmp_path / "results", tmp_path / "annotations").j_and_f == 1.0


def test_ids_beyond_eight_bits(tmp_path):
    masks = [layered(mask.astype(np.int32) * 1000, square(25, 25, 6).astype(np.int32) * 40000) for mask in moving()]
    write_sequence(tmp_path / "annotations" / "a", masks)
    write_sequence(tmp_path / "results" / "a", masks)
    report = evaluate(tmp_path / "results", tmp_path / "annotations")
    assert [(score.object_id, score.j_and_f) for score in report.objects] == [(1000, 1.0), (40000, 1.0)]


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
            ("{", "is no JSON"),
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


class TestBadInput:
    """Everything that cannot be compared is refused with the file's name."""

    @pytest.fixture
    def data(self, tmp_path):
        return write_cases(tmp_path, ["noisy", "late"])

    def test_missing_result_frame(self, data):
        (data[0] / "late" / "00004.png").unlink()
        with pytest.raises(EvaluationError, match=r"no result `.*late/00004\.png`.*annotations/late/00004\.png"):
            evaluate(*data)

    def test_size_mismatch(self, data):
        write_sequence(data[0] / "late", moving(shape=(20, 26)))
        with pytest.raises(EvaluationError, match=r"late/00001\.png` is 26x20 .*late/00001\.png` 52x40"):
            evaluate(*data)

    def test_turned_by_ninety_degrees(self, data):
        write_sequence(data[0] / "late", [mask.T for mask in moving()])
        with pytest.raises(EvaluationError, match=r"40x52.*52x40"):
            evaluate(*data)

    def test_missing_sequence(self, data):
        shutil.rmtree(data[0] / "late")
        with pytest.raises(EvaluationError, match="no results for 1 of 2 sequences: `late`"):
            evaluate(*data)

    def test_sequence_without_annotations(self, data):
        with pytest.raises(EvaluationError, match=r"no annotations for `dog`.*`late`, `noisy`"):
            evaluate(*data, sequences=["dog"])

    def test_sequence_named_twice(self, data):
        with pytest.raises(EvaluationError, match="more than once: `late`"):
            evaluate(*data, sequences=["late", "noisy", "late"])

    @pytest.mark.parametrize("sequences", [[], "val", "nowhere.txt"])
    def test_no_such_list(self, data, sequences):
        with pytest.raises(EvaluationError, match=r"sequences? (list )?.*"):
            evaluate(*data, sequences=sequences)

    @pytest.mark.parametrize("side", [0, 1])
    def test_missing_roots(self, data, tmp_path, side):
        roots = list(data)
        roots[side] = tmp_path / "nowhere"
        with pytest.raises(MissingFileError, match=f"no {('results', 'annotations')[side]} folder .*nowhere"):
            evaluate(*roots)

    def test_no_annotations(self, data, tmp_path):
        (tmp_path / "empty" / "a").mkdir(parents=True)
        with pytest.raises(EvaluationError, match="holds no PNG files"):
            evaluate(data[0], tmp_path / "empty")

    def test_annotations_of_the_first_frame_only(self, tmp_path):
        write_sequence(tmp_path / "annotations" / "a", moving(1))
        write_sequence(tmp_path / "results" / "a", moving())
        with pytest.raises(EvaluationError, match="can be scored"):
            evaluate(tmp_path / "results", tmp_path / "annotations")

    def test_black_and_white_annotations_are_void_in_davis2017(self, tmp_path):
        masks = [mask * np.uint8(255) for mask in moving()]
        write_sequence(tmp_path / "annotations" / "a", masks)
        write_sequence(tmp_path / "results" / "a", masks)
        with pytest.raises(EvaluationError, match="davis2016"):
            evaluate(tmp_path / "results", tmp_path / "annotations")
        assert evaluate(tmp_path / "results", tmp_path / "annotations", protocol="davis2016").j_and_f == 1.0

    @pytest.mark.parametrize("side", [0, 1])
    def test_files_that_hold_no_ids(self, data, side):
        path = data[side] / "noisy" / "00002.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)).save(path)
        with pytest.raises(MaskError, match=r"noisy/00002\.png"):
            evaluate(*data)

    @pytest.mark.parametrize("processes", [0, -1])
    def test_number_of_processes(self, data, processes):
        with pytest.raises(ConfigError, match="number of processes"):
            evaluate(*data, processes=processes)

    @pytest.mark.parametrize(
        "options", [{"protocol": "davis2018"}, {"breakdown": "size"}, {"breakdown": ["length", "size"]}]
    )
    def test_unknown_names(self, data, options):
        with pytest.raises(EvaluationError, match="Expected"):
            evaluate(*data, **options)

    def test_a_meaningless_tolerance(self, data):
        with pytest.raises(ConfigError, match="tolerance"):
            evaluate(*data, bound=1.5)
