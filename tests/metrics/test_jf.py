import json
import math

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing

from testing.generated_folders import cases, write_cases
from vos_zoo.errors import ConfigError, EvaluationError, ShapeError
from vos_zoo.metrics import BoundaryAccuracy, JAndF, RegionSimilarity, evaluate

# Sequences whose frames all have one size, so that they stack.
NAMES = ["noisy", "late", "void-noisy", "shifted", "given-in-last-frame", "extra-object"]


def stacked(name):
    annotations, results = cases()[name]
    return torch.from_numpy(np.stack(results)), torch.from_numpy(np.stack(annotations))


def as_floats(scores):
    return {name: float(value) for name, value in scores.items()}


def fill(metric, names=NAMES):
    for name in names:
        metric.update(*stacked(name), sequence=name)
    return metric


@pytest.mark.parametrize("protocol", ["davis2017", "davis2016", "youtube-vos"])
def test_equals_the_evaluation_of_folders(tmp_path, protocol):
    report = evaluate(*write_cases(tmp_path, NAMES), protocol=protocol)
    found = as_floats(fill(JAndF(protocol=protocol)).compute())
    expected = {"jf_mean": report.j_and_f}
    for letter, part in (("j", report.region), ("f", report.boundary)):
        expected |= {f"{letter}_mean": part.mean, f"{letter}_recall": part.recall, f"{letter}_decay": part.decay}
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("metric", "letter"), [(RegionSimilarity, "j"), (BoundaryAccuracy, "f")])
def test_single_measures(metric, letter):
    whole = as_floats(fill(JAndF()).compute())
    found = as_floats(fill(metric()).compute())
    assert found == {name: value for name, value in whole.items() if name.startswith(f"{letter}_")}


def test_options_reach_the_scores():
    late = as_floats(fill(JAndF(), ["late"]).compute())
    early = as_floats(fill(JAndF(late_objects=False), ["late"]).compute())
    assert late != early
    assert (
        as_floats(fill(JAndF(bound=5), ["noisy"]).compute())["f_mean"]
        > as_floats(fill(JAndF(bound=0), ["noisy"]).compute())["f_mean"]
    )


def test_arrays_and_tensors_score_alike():
    prediction, annotation = stacked("noisy")
    metric = JAndF()
    metric.update(prediction.numpy(), annotation.numpy().astype(np.int64), sequence="noisy")
    assert as_floats(metric.compute()) == as_floats(fill(JAndF(), ["noisy"]).compute())


def test_a_sequence_given_again_replaces_its_first_scores():
    metric = fill(JAndF(), ["noisy", "late"])
    expected = as_floats(metric.compute())
    assert as_floats(fill(metric, ["noisy"]).compute()) == pytest.approx(expected, abs=1e-12)


def test_before_the_first_sequence_the_scores_are_nan():
    metric = JAndF()
    metric.update(*stacked("no-object"), sequence="no-object")
    assert all(math.isnan(value) for value in as_floats(metric.compute()).values())


def test_reset_forgets():
    metric = fill(JAndF())
    metric.reset()
    assert as_floats(fill(metric, ["late"]).compute()) == as_floats(fill(JAndF(), ["late"]).compute())


def test_merging_two_metrics_equals_one():
    metric = fill(JAndF(), NAMES[:2])
    metric.merge_state(fill(JAndF(), NAMES[2:]))
    assert as_floats(metric.compute()) == pytest.approx(as_floats(fill(JAndF()).compute()), abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "annotation"), [((3, 4, 4), (3, 4, 5)), ((4, 4), (4, 4)), ((1, 3, 4, 4), (1, 3, 4, 4))]
)
def test_wrong_shapes_are_refused(prediction, annotation):
    with pytest.raises(ShapeError, match=r"\(T, H, W\)"):
        JAndF().update(torch.zeros(prediction), torch.zeros(annotation), sequence="a")


def test_the_number_of_frame_names_must_fit():
    with pytest.raises(ShapeError, match="2 frame names for 3 frames"):
        JAndF().update(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), sequence="a", frames=["0", "1"])


def test_wrong_options_are_refused():
    with pytest.raises(EvaluationError, match="protocol"):
        JAndF(protocol="coco")
    with pytest.raises(ConfigError, match="tolerance"):
        JAndF(bound=-1)


# What each of two ranks gets to see.
SHARES = {
    "uneven": (NAMES[:2], NAMES[2:]),
    "one-rank-without-data": (NAMES, []),
    "padded-by-the-sampler": (NAMES[:4], NAMES[3:]),
}


def _work_on_a_rank(rank, rendezvous, out):
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    metric = JAndF()
    found = {}
    for name, shares in SHARES.items():
        found[name] = as_floats(fill(metric, shares[rank]).compute())
        metric.reset()
    torch.distributed.barrier()  # torch 2.6 can wait for itself for ever if the group still lets go of tensors
    torch.distributed.destroy_process_group()
    (out / f"{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks computed, by the name of the shares; one start of two processes serves all tests."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(_work_on_a_rank, (folder / "rendezvous", folder), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("shares", SHARES)
def test_ranks_together_score_like_one_process(ranks, shares):
    expected = as_floats(fill(JAndF()).compute())
    for found in ranks:
        assert found[shares] == pytest.approx(expected, abs=1e-12)
