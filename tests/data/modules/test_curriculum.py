from __future__ import annotations

from types import SimpleNamespace

import pytest

from vos_zoo.data.modules.curriculum import GapCurriculum, gap_at
from vos_zoo.errors import ConfigError


@pytest.mark.parametrize(
    ("progress", "gap"),
    [
        (0.0, 5), (0.099, 5), (0.1, 10), (0.199, 10), (0.2, 15), (0.3, 20), (0.4, 25), (0.899, 25), (0.9, 5), (1.0, 5),
    ],
)  # fmt: skip
def test_gaps_of_the_papers(progress, gap):
    assert gap_at(progress) == gap


@pytest.mark.parametrize(
    ("gaps", "milestones"),
    [
        ([5], [0.5]),
        ([5, 10, 15], [0.5]),
        ([5, 0], [0.5]),
        ([5, 10, 15], [0.6, 0.5]),
        ([5, 10], [0.0]),
        ([5, 10], [1.0]),
    ],
)
def test_numbers_that_do_not_fit(gaps, milestones):
    with pytest.raises(ConfigError, match="Gap curriculum"):
        GapCurriculum(gaps, milestones)


def trainer(**values):
    defaults = {"max_steps": -1, "max_epochs": None, "accumulate_grad_batches": 1}
    return SimpleNamespace(callbacks=[], **defaults | values)


def gaps(trainer, epochs, batches):
    curriculum = GapCurriculum([1, 2, 3], [0.25, 0.75])
    return [[curriculum.gap_of(trainer, epoch, batch, batches) for batch in range(batches)] for epoch in range(epochs)]


def test_the_gap_follows_the_iterations():
    assert gaps(trainer(max_steps=8), 2, 4) == [[1, 1, 2, 2], [2, 2, 3, 3]]


def test_accumulated_batches_are_one_iteration():
    assert gaps(trainer(max_steps=4, accumulate_grad_batches=2), 2, 4) == [[1, 1, 2, 2], [2, 2, 3, 3]]


def test_the_gap_follows_the_epochs():
    assert gaps(trainer(max_epochs=4), 4, 1) == [[1], [2], [2], [3]]
