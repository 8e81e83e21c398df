"""Which frames and objects of a sequence are scored."""

import math

from testing.generated_folders import by_id, write_cases
from vos_zoo.metrics import evaluate


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
