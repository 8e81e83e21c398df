"""The evaluation of folders against the benchmarks' definition, and what it refuses."""

import functools
import math
import shutil
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from PIL import Image

from testing import official_definition
from testing.generated_folders import (
    CASES,
    EXACT,
    RULES,
    SHAPE,
    by_id,
    cases,
    layered,
    moving,
    square,
    write_cases,
    write_sequence,
)
from vos_zoo.errors import ConfigError, EvaluationError, MaskError, MissingFileError
from vos_zoo.metrics import evaluate
from vos_zoo.metrics import evaluation as evaluation_module


@pytest.fixture(scope="module")
def definition(folders):
    @functools.cache
    def scores(protocol, sequence):
        results, annotations = (folder / sequence for folder in folders)
        return official_definition.evaluate_sequence(results, annotations, **RULES[protocol])

    return scores


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
