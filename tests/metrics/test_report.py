import csv
import json
import math

import pytest

from testing.generated_folders import cases, layered, moving, square, write_cases
from vos_zoo.errors import EvaluationError, MissingFileError
from vos_zoo.media.masks import write_mask
from vos_zoo.metrics import EvaluationReport, evaluate


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    roots = write_cases(tmp_path_factory.mktemp("cases"))
    return evaluate(*roots, breakdown=["length", "occlusion"])


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_json_round_trip(report, tmp_path):
    report.to_json(tmp_path / "new" / "report.json")
    again = EvaluationReport.from_json(tmp_path / "new" / "report.json")
    assert str(again) == str(report)  # by text, because NaN is unlike itself
    assert (again.region, again.boundary, again.j_and_f) == (report.region, report.boundary, report.j_and_f)


def test_json_is_standard_and_says_the_overall_scores(report, tmp_path):
    report.to_json(tmp_path / "report.json")

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert content["overall"]["j_and_f"] == report.j_and_f
    assert content["overall"]["region"]["mean"] == report.region.mean


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format_version": 1}', '{"format_version": 99}', "\x00"],
    ids=["empty", "list", "no-keys", "few-keys", "future", "binary"],
)  # fmt: skip
def test_other_files_are_no_reports(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(EvaluationError, match=r"x\.json"):
        EvaluationReport.from_json(tmp_path / "x.json")


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        EvaluationReport.from_json(tmp_path / "nowhere.json")


def test_csv_has_the_official_names_columns_and_all_digits(report, tmp_path):
    paths = report.to_csv(tmp_path / "tables")
    assert [path.name for path in paths] == ["global_results-all.csv", "per-sequence_results-all.csv"]
    header, row = read_csv(paths[0])
    assert header == ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    expected = [report.j_and_f]
    for part in (report.region, report.boundary):
        expected += [part.mean, part.recall, part.decay]
    assert [float(cell) for cell in row] == expected
    header, *rows = read_csv(paths[1])
    assert header == ["Sequence", "J-Mean", "F-Mean"]
    assert [row[0] for row in rows] == [f"{score.sequence}_{score.object_id}" for score in report.objects]
    for row, score in zip(rows, report.objects, strict=True):
        if score.is_scored:
            assert [float(cell) for cell in row[1:]] == [score.region.mean, score.boundary.mean]
        else:
            assert all(math.isnan(float(cell)) for cell in row[1:])


def test_the_table_names_every_object_and_what_was_left_out(report):
    table = report.table()
    for score in report.objects:
        assert score.name in table
    assert "left out of all means: given-in-last-but-one_4, given-in-last-frame_4." in table
    assert "extra-object (9)" in table
    assert f"{100 * report.j_and_f:.1f}" in table.splitlines()[2]
    assert all(len(line) < 120 for line in table.splitlines() if not line.startswith(("Ids", "Without")))


def test_the_short_table_has_no_objects(report):
    assert "perfect_1" not in report.table(per_object=False)


def test_sequences_are_means_over_their_objects(report):
    assert [sequence.name for sequence in report.sequences] == sorted(cases())
    noisy = next(sequence for sequence in report.sequences if sequence.name == "noisy")
    scores = [score for score in report.objects if score.sequence == "noisy"]
    assert noisy.objects == len(scores) == 2
    assert noisy.region == pytest.approx(sum(score.region.mean for score in scores) / 2, abs=1e-12)
    assert noisy.j_and_f == pytest.approx(sum(score.j_and_f for score in scores) / 2, abs=1e-12)


HOSTILE = ["\x1b[2J\x1b[1;31mdog", "cat\rbear", "over\u202eturned", "c1\x9b31m"]


def hostile_report(tmp_path):
    """Evaluate sequences whose names would act on a terminal or in a spreadsheet, one of them never scored."""
    annotations, results = moving()[:3], moving(offset=1)[:3]
    for name in (*HOSTILE, "=cmd|' \x1b]0;title\x07", "+1", "-1", "@sum", "plain"):
        for index, (mask, result) in enumerate(zip(annotations, results, strict=True)):
            extra = layered(result, square(0, 0, 3, 9))
            write_mask(tmp_path / "true" / name / f"{index:05d}.png", mask)
            write_mask(tmp_path / "found" / name / f"{index:05d}.png", extra)
    return evaluate(tmp_path / "found", tmp_path / "true")


def test_names_do_nothing_on_a_terminal(tmp_path):
    table = hostile_report(tmp_path).table()
    assert all(line.isprintable() for line in table.splitlines())
    assert "\\x1b[2J\\x1b[1;31mdog" in table
    assert "plain (9)" in table


def test_names_are_no_formulas_in_a_spreadsheet(tmp_path):
    _, path = hostile_report(tmp_path).to_csv(tmp_path)
    names = [row[0] for row in read_csv(path)[1:]]
    assert {"'+1_1", "'-1_1", "'@sum_1", "plain_1", "'=cmd|' \x1b]0;title\x07_1"} <= set(names)
    assert not any(name.startswith(("=", "+", "-", "@", "\t", "\r")) for name in names)
