"""Numbers of every object are those of a naive count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo import VideoSession
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.inference.confidence import measure_objects
from vos_zoo.models.rde import RDEModule


@given(
    st.lists(st.integers(-3, 70_000).filter(bool), max_size=4, unique=True),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 1000),
)
def test_states_are_those_of_a_naive_count(ids, height, width, seed):
    random = np.random.default_rng(seed)
    probabilities = torch.from_numpy(
        random.dirichlet(np.ones(1 + len(ids)), (height, width)).transpose(2, 0, 1)
    ).float()
    mask = random.choice([0, *ids], (height + 2, width + 3)).astype(np.int32)
    states = measure_objects(mask, ids, probabilities)
    assert [state.object_id for state in states] == ids
    values = probabilities.numpy()
    for plane, state in enumerate(states, start=1):
        rows, columns = np.nonzero(mask == state.object_id)
        assert state.area == len(rows)
        if len(rows):
            assert state.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert state.centroid == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5))
        else:
            assert state.box is state.centroid is None
        inside = values.argmax(0) == plane
        others = np.delete(values, plane, axis=0).max(0)
        expected = (values[plane][inside].mean(), (values[plane] - others)[inside].mean()) if inside.any() else (0, 0)
        assert (state.probability, state.margin) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (2160, 3840)])
def test_means_of_large_frames_are_as_exact(size):
    lead = torch.rand(size, generator=torch.Generator().manual_seed(0)) - 0.3
    probabilities = torch.stack([0.5 - lead / 2, 0.5 + lead / 2])
    mask = (lead > 0).numpy().astype(np.uint8)
    (state,) = measure_objects(mask, (1,), probabilities)
    expected = lead[lead > 0].double().mean().item()
    assert state.margin == pytest.approx(expected, abs=1e-4)
    assert state.probability == pytest.approx(0.5 + expected / 2, abs=1e-4)


def test_a_result_measures_its_objects_when_asked():
    video = moving_shapes(3, 45, 61, num_objects=2, rng=3)
    session = VideoSession(RDEModule("tiny").eval(), size=32)
    for number, frame in enumerate(video.frames):
        result = session.step(frame, video.masks[0] if number == 0 else None)
        assert [state.object_id for state in result.objects] == list(result.object_ids)
        assert [state.area for state in result.objects] == [(result.mask == one).sum() for one in result.object_ids]
        assert result.objects is result.objects
    empty = VideoSession(RDEModule("tiny").eval(), size=32).step(video.frames[0])
    assert empty.objects == ()
