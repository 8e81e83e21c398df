"""A session goes on from a file as if it had never stopped."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.errors import CheckpointError, MissingFileError, OutputExistsError, ShapeError
from vos_zoo.runtime import GraphSession
from vos_zoo.testing import VIDEO, relabel


def open_session(folder, size=None):
    return GraphSession(folder, size=size, threads=1)


@pytest.fixture
def saved(rde_graphs, tmp_path):
    session = open_session(rde_graphs)
    session.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1, 2)))
    session.step(VIDEO.frames[1], relabel(VIDEO.masks[1], (0, 2, 300)))  # two groups
    session.save_state(tmp_path / "state.npz")
    return session, tmp_path / "state.npz"


def test_it_goes_on_as_if_it_had_never_stopped(rde_graphs, saved):
    session, path = saved
    other = open_session(rde_graphs)
    other.load_state(path)
    assert (other.object_ids, other.num_frames, other.memory_bytes) == ((1, 2, 300), 2, session.memory_bytes)
    for frame in VIDEO.frames[2:6]:
        ours, theirs = other.step(frame), session.step(frame)
        assert ours.index == theirs.index
        assert ours.mask.dtype == theirs.mask.dtype
        np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)


def test_a_state_of_another_size(rde_graphs, saved):
    with pytest.raises(ShapeError, match=r"has 'keys' of shape .* Expected .* in another size"):
        open_session(rde_graphs, size=(96, 128)).load_state(saved[1])


def test_a_state_is_not_replaced_and_a_missing_one_is_named(saved, tmp_path):
    session, path = saved
    with pytest.raises(OutputExistsError, match="a saved state is not replaced"):
        session.save_state(path)
    with pytest.raises(MissingFileError, match="There is no saved state"):
        session.load_state(tmp_path / "none.npz")


def test_a_cut_or_foreign_file_is_refused_and_changes_nothing(saved, tmp_path):
    session, path = saved
    cut = tmp_path / "cut.npz"
    cut.write_bytes(path.read_bytes()[:-200])
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    for wrong in (cut, tmp_path / "foreign.npz"):
        with pytest.raises(CheckpointError, match="is not a saved state, or was cut"):
            session.load_state(wrong)
    assert session.object_ids == (1, 2, 300)


def test_a_state_of_other_graphs(saved):
    session, path = saved
    session._graph_names = lambda: ("other",)
    with pytest.raises(CheckpointError, match="belongs to other graphs"):
        session.load_state(path)
