import dataclasses

import numpy as np
import pytest

from testing.object_scores import make_score
from vos_zoo.errors import ConfigError, EvaluationError
from vos_zoo.metrics import EvaluationReport, compare
from vos_zoo.metrics.comparison import object_differences


def make_report(means, *, frames=4, protocol="davis2017"):
    """One object per sequence, with this J in every frame (F is half of it)."""
    names = tuple(f"s{index:03d}" for index in range(len(means)))
    objects = tuple(make_score([mean] * frames, name=name) for name, mean in zip(names, means, strict=True))
    return EvaluationReport(protocol, "all", 0.008, names, objects, tuple(() for _ in names))


def test_the_difference_is_paired():
    hard = np.random.default_rng(0).random(40)
    comparison = compare(make_report(hard + 0.1), make_report(hard), measure="region")
    assert comparison.difference == pytest.approx(0.1, abs=1e-12)
    # Every object differs by the same amount, so every resample does, however much the objects vary.
    assert (comparison.low, comparison.high) == pytest.approx((0.1, 0.1), abs=1e-12)
    assert comparison.is_clear
    assert (comparison.better, comparison.worse, comparison.objects) == (40, 0, 40)


def test_the_interval_matches_the_normal_approximation():
    generator = np.random.default_rng(1)
    first, second = generator.random(400), generator.random(400)
    comparison = compare(make_report(first), make_report(second), measure="region")
    differences = first - second
    half = 1.96 * differences.std() / np.sqrt(differences.size)
    # 10,000 resamples know a 2.5 % quantile to a few percent of the half width.
    assert comparison.low == pytest.approx(differences.mean() - half, abs=0.05 * half)
    assert comparison.high == pytest.approx(differences.mean() + half, abs=0.05 * half)


def test_swapping_the_reports_swaps_the_signs():
    first, second = make_report([0.9, 0.2, 0.4, 0.4]), make_report([0.5, 0.3, 0.4, 0.1])
    one, other = compare(first, second), compare(second, first)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
    assert (one.better, one.worse) == (other.worse, other.better) == (2, 1)


@pytest.mark.parametrize(
    ("measure", "expected", "label"), [("region", 0.2, "J: "), ("boundary", 0.1, "F: "), ("j_and_f", 0.15, "J&F: ")]
)
def test_measures(measure, expected, label):
    comparison = compare(make_report([0.7, 0.7]), make_report([0.5, 0.5]), measure=measure)
    assert comparison.difference == pytest.approx(expected, abs=1e-12)
    assert str(comparison).startswith(label)


def test_equal_results_do_not_differ():
    report = make_report([0.3, 0.9])
    comparison = compare(report, report)
    assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
    assert not comparison.is_clear


def test_the_seed_fixes_the_interval():
    first, second = make_report(np.linspace(0, 1, 9)), make_report(np.linspace(1, 0.2, 9))
    assert compare(first, second, resamples=150) == compare(first, second, resamples=150)
    assert compare(first, second, resamples=150).low != compare(first, second, resamples=150, seed=1).low


def test_objects_without_a_score_are_left_out():
    first, second = make_report([0.5, 0.5]), make_report([0.4, 0.4])
    bare = tuple(dataclasses.replace(make_score([]), sequence=name) for name in ("s001",))
    first = dataclasses.replace(first, objects=(first.objects[0], *bare))
    second = dataclasses.replace(second, objects=(second.objects[0], *bare))
    assert compare(first, second).objects == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_report([0.5, 0.5], protocol="youtube-vos"), "youtube-vos"),
        (make_report([0.5]), "s001_1"),
        (make_report([0.5, 0.5], frames=5), "4 and 5 frames"),
    ],
)
def test_unlike_reports_are_refused(other, message):
    with pytest.raises(EvaluationError, match=message):
        compare(make_report([0.5, 0.5]), other)


def test_empty_reports_are_refused():
    with pytest.raises(EvaluationError, match="no scored object"):
        compare(make_report([]), make_report([]))


@pytest.mark.parametrize("options", [{"confidence": 1.0}, {"confidence": 0}, {"resamples": 0}])
def test_options_out_of_range(options):
    with pytest.raises(ConfigError, match="interval"):
        compare(make_report([0.5]), make_report([0.5]), **options)


def test_objects_are_listed_by_their_difference():
    rows = object_differences(make_report([0.4, 0.8, 0.6]), make_report([0.8, 0.4, 0.6]))
    assert [name for name, _, _ in rows] == ["s001_1", "s002_1", "s000_1"]
    assert rows[0][1:] == pytest.approx((0.6, 0.3))


@pytest.mark.parametrize("measure", ["j", "J", "f", "J&F", "region ", None])
def test_a_measure_that_does_not_exist_is_refused(measure):
    with pytest.raises(ConfigError, match=r"measure is .* Expected one of 'j_and_f', 'region', 'boundary'\."):
        compare(make_report([0.5]), make_report([0.4]), measure=measure)
