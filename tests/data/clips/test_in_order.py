from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.data.clips.in_order import ShardOrder


@st.composite
def shards(draw):
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=9))
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    return [tuple(range(start, start + length)) for start, length in zip(starts, lengths, strict=True)]


@given(shards(), st.integers(0, 5), st.integers(0, 3))
def test_every_pass_has_every_video_once_and_shards_from_front_to_back(parts, seed, number):
    order = ShardOrder(parts, seed=seed)
    total = sum(map(len, parts))
    seen = [order.video_at(number * total + at) for at in range(total)]
    assert sorted(seen) == list(range(total))
    for part in parts:
        assert [video for video in seen if video in part] == list(part)


def test_passes_differ_and_repeat_with_the_seed():
    parts = [(number,) for number in range(30)]

    def passes(seed):
        order = ShardOrder(parts, seed=seed)
        return [tuple(order.video_at(30 * number + at) for at in range(30)) for number in range(3)]

    assert len(set(passes(1))) == 3
    assert passes(1) == passes(1)
    assert passes(1) != passes(2)


def test_neighbours_come_from_different_shards():
    parts = [tuple(range(20 * number, 20 * number + 20)) for number in range(4)]
    order = ShardOrder(parts, seed=0)
    assert all(len({order.video_at(4 * batch + at) // 20 for at in range(4)}) == 4 for batch in range(20))
