from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from vos_zoo.errors import MaskError, MissingFileError, ShapeError
from vos_zoo.interchange.probabilities import ProbabilityReader, ProbabilityWriter


@settings(max_examples=25, deadline=None)
@given(
    planes=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_probabilities_come_back_to_within_half_a_level(tmp_path_factory, planes):
    folder = tmp_path_factory.mktemp("results")
    ids = [1, 300, 70000][: len(planes)]
    ProbabilityWriter(folder).write("00000", zip(ids, planes, strict=True))
    found = ProbabilityReader(folder, planes.shape[1:]).read("00000", ids, ids)
    for object_id, plane in zip(ids, planes, strict=True):
        got = found.get(object_id, np.zeros(plane.shape, np.uint8))
        assert np.abs(got / 255 - plane).max() <= 0.5 / 255 + 1e-6


def test_an_object_that_has_not_entered_yet_has_none(tmp_path):
    ProbabilityWriter(tmp_path).write("00000", [(1, np.ones((2, 2), np.float32))])
    reader = ProbabilityReader(tmp_path, (2, 2))
    assert set(reader.read("00000", [1, 2], visible=[1])) == {1}
    with pytest.raises(MissingFileError, match=r"Object 2 is in the mask of frame 00000.*--save-probabilities"):
        reader.read("00000", [1, 2], visible=[1, 2])


def test_results_without_probabilities(tmp_path):
    with pytest.raises(MissingFileError, match=r"no folder `probabilities`.*--save-probabilities"):
        ProbabilityReader(tmp_path, (2, 2))


def test_what_is_no_plane_is_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"object 1 has shape \(1, 4, 4\)"):
        ProbabilityWriter(tmp_path).write("00000", [(1, np.ones((1, 4, 4)))])
    assert not list(tmp_path.iterdir())


def test_what_an_earlier_run_left_for_a_frame_goes(tmp_path):
    ProbabilityWriter(tmp_path).write("a[0]", [(1, np.ones((2, 2))), (2, np.ones((2, 2)))])
    ProbabilityWriter(tmp_path).write("a0", [(1, np.ones((2, 2)))])
    ProbabilityWriter(tmp_path).write("a[0]", [(2, np.zeros((2, 2)))])
    names = sorted(str(path.relative_to(tmp_path / "probabilities")) for path in tmp_path.rglob("*.png"))
    assert names == ["1/a0.png", "2/a[0].png"]


def test_what_a_killed_run_left_half_written_goes(tmp_path):
    ProbabilityWriter(tmp_path).write("00000", [(3, np.ones((2, 3)))])
    half, other = (tmp_path / "probabilities" / "3" / name for name in (".00001.png.4711-123.part", ".mine"))
    for path in (half, other):
        path.write_bytes(b"half")
    ProbabilityWriter(tmp_path)
    assert sorted(path.name for path in half.parent.iterdir()) == [".mine", "00000.png"]


@pytest.mark.parametrize("kind", ["cut", "other size", "colour", "text"])
def test_damaged_probabilities_are_named(tmp_path, kind):
    ProbabilityWriter(tmp_path).write("00000", [(1, np.random.default_rng(0).random((9, 9)))])
    file = tmp_path / "probabilities" / "1" / "00000.png"
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:60])
    elif kind == "text":
        file.write_text("<html>")
    else:
        Image.new("RGB" if kind == "colour" else "L", (9, 9) if kind == "colour" else (8, 9)).save(file)
    with pytest.raises(MaskError, match=r"1/00000\.png.*[Ss]egment the video again"):
        ProbabilityReader(tmp_path, (9, 9)).read("00000", [1], [1])
