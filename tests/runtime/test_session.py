"""The session around graphs of any size: the shared battery, and what only this session has."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.runtime import GraphSession
from vos_zoo.testing import VIDEO, SessionTester, relabel


class TestSession(SessionTester):
    @pytest.fixture(autouse=True)
    def _use(self, rde_graphs):
        self.folder = rde_graphs

    def open_session(self, **options):
        return GraphSession(self.folder, size=None, threads=1, **options)


def test_masks_have_the_smallest_type_and_never_a_smaller_one(rde_graphs):
    session = GraphSession(rde_graphs, size=None, threads=1)
    assert session.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1,))).mask.dtype == np.uint8
    assert session.step(VIDEO.frames[1], relabel(VIDEO.masks[1], (0, 300))).mask.dtype == np.uint16
    session.remove(300)
    assert session.step(VIDEO.frames[2]).mask.dtype == np.uint16
    assert session.step(VIDEO.frames[3], relabel(VIDEO.masks[3], (0, 70_000))).mask.dtype == np.int32


def test_frames_are_scaled_as_the_network_wants_them(rde_graphs):
    frame = VIDEO.frames[0].repeat(2, 0).repeat(2, 1)
    mask = relabel(VIDEO.masks[0], (1,)).repeat(2, 0).repeat(2, 1)
    session = GraphSession(rde_graphs, size=64, threads=1)
    result = session.step(frame, mask)
    assert result.probabilities.shape == (2, 64, 85) or result.probabilities.shape[1] >= 64
    assert result.mask.shape == (96, 128)
    assert result.probabilities_at_frame_size().shape == (2, 96, 128)


def test_colours_of_opencv(rde_graphs):
    mask = relabel(VIDEO.masks[0], (1,))
    results = []
    for color, frames in (("rgb", VIDEO.frames), ("bgr", VIDEO.frames[..., ::-1])):
        session = GraphSession(rde_graphs, size=None, threads=1, color=color)
        session.step(frames[0], mask)
        results.append(session.step(frames[1]).probabilities)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("options", "message"), [({"size": 0}, "Working size is 0"), ({"color": "yuv"}, "'yuv'")])
def test_options_out_of_range(rde_graphs, options, message):
    with pytest.raises(ConfigError, match=message):
        GraphSession(rde_graphs, **options)


def test_a_frame_that_fails_changes_nothing(rde_graphs, monkeypatch):
    mask = relabel(VIDEO.masks[0], (1, 2))
    sessions = [GraphSession(rde_graphs, size=None, threads=1) for _ in range(2)]
    for session in sessions:
        session.step(VIDEO.frames[0], mask)
        session.step(VIDEO.frames[1])
    failing, graphs = sessions[1], sessions[1]._graphs
    correction = relabel(VIDEO.masks[2], (0, 2, 3))  # three groups afterwards
    run, calls = graphs.run, []

    def fail_at_the_last(verb, values):
        calls.append(verb)
        if verb == "memorize" and calls.count("memorize") == 3:
            raise MemoryError
        return run(verb, values)

    monkeypatch.setattr(graphs, "run", fail_at_the_last)
    with pytest.raises(MemoryError):
        failing.step(VIDEO.frames[2], correction)
    monkeypatch.undo()
    assert failing.object_ids == (1, 2)
    for frame, given in ((VIDEO.frames[2], correction), (VIDEO.frames[3], None), (VIDEO.frames[4], None)):
        one, other = (session.step(frame, given) for session in sessions)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_neither_torch_nor_opencv_nor_pillow_is_imported(rde_graphs):
    program = (
        "import sys\n"
        "for name in ('torch', 'cv2', 'PIL', 'av'):\n    sys.modules[name] = None\n"
        "import numpy as np\nfrom vos_zoo.runtime import GraphSession\n"
        f"session = GraphSession({str(rde_graphs)!r}, size=None, threads=1)\n"
        "mask = np.zeros((64, 64), np.uint8)\nmask[8:40, 8:40] = 5\n"
        "frame = np.zeros((64, 64, 3), np.uint8)\n"
        "session.step(frame, mask)\nprint(session.step(frame).object_ids)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "(5,)"
