from __future__ import annotations

import pytest

from vos_zoo.data.curriculum import GapCurriculum, gap_at
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
