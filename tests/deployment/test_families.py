"""Every family that can be exported: its graphs pass the battery of sessions and give what its session gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from testing.graphs import FRAME, export_tiny, tiny_network
from vos_zoo import VideoSession
from vos_zoo.deployment.trace import portable_verbs
from vos_zoo.errors import ConfigError
from vos_zoo.runtime import GraphSession
from vos_zoo.testing import VIDEO, SessionTester, relabel

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

FAMILIES = ("rde", "stcn", "stm", "hs2s", "tsn")


def fixed_size(name):
    return (64, 64) if name == "hs2s" else FRAME  # multiples of the stride


def story(session):
    """Objects join late, are corrected, are absent, and leave."""
    frames = VIDEO.frames
    results = [session.step(frames[0], relabel(VIDEO.masks[0], (1,))), session.step(frames[1])]
    results.append(session.step(frames[2], relabel(VIDEO.masks[2], (0, 2, 300))))
    results.append(session.step(frames[3]))
    results.append(session.step(frames[4], relabel(VIDEO.masks[4], (0, 2))))
    session.remove(1)
    results.append(session.step(frames[5]))
    results.append(session.step(frames[6], absent=[300]))
    session.remove(300)
    results += [session.step(frame) for frame in frames[7:]]
    results += [session.step(frame) for frame in frames]
    return results


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs") / request.param
    return request.param, export_tiny(request.param, folder, size=fixed_size(request.param))


@pytest.mark.slow
class TestGraphSession(SessionTester):
    @pytest.fixture(autouse=True)
    def _use(self, exported):
        self.name, self.folder = exported

    def open_session(self, **options):
        return GraphSession(self.folder, size=None, threads=1, **options)

    def test_graphs_give_what_the_network_gives(self):
        ours = story(self.open_session())
        theirs = story(VideoSession(tiny_network(self.name), size=None))
        for mine, reference in zip(ours, theirs, strict=True):
            assert mine.object_ids == reference.object_ids
            assert mine.mask.dtype == reference.mask.dtype
            # Sums in another order: errors of float32, on probabilities that an untrained network leaves undecided.
            np.testing.assert_allclose(mine.probabilities, reference.probabilities.numpy(), atol=1e-5)
            clear = np.sort(reference.probabilities_at_frame_size().numpy(), axis=0)
            is_clear = clear[-1] - clear[-2] > 1e-5 if len(clear) > 1 else np.ones(clear.shape[1:], bool)
            assert (mine.mask == reference.mask)[is_clear].all()


@pytest.mark.slow
def test_graphs_for_a_number_of_objects_give_the_same_and_refuse_more(tmp_path):
    folder = export_tiny("rde", tmp_path / "graphs", size=FRAME, objects=3)
    ours = story(GraphSession(folder, size=None, threads=1))
    theirs = story(VideoSession(tiny_network("rde"), size=None))
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.probabilities, reference.probabilities.numpy(), atol=1e-5)
    session = GraphSession(folder, size=None, threads=1)
    session.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1, 2, 3)))
    more = np.zeros(FRAME, np.uint8)
    more[:4, :4] = 9
    with pytest.raises(ValueError, match=r"makes it 4 objects, and these graphs take 3 at most.*--objects 4"):
        session.step(VIDEO.frames[1], more)
    assert session.step(VIDEO.frames[1]).object_ids == (1, 2, 3)


@pytest.mark.parametrize(
    ("name", "overrides", "reason"),
    [
        ("giel", {}, "GIEL cannot be exported: it selects new support frames"),
        ("dmn_aoa", {}, "DMN-AOA cannot be exported: it aligns objects with proposals that Python and OpenCV find"),
        ("rde", {"memory_entries": ("all",)}, "'all' grows with the video"),
        ("hs2s", {"merge": "argmax"}, "at every pixel it keeps one object of all"),
        ("tsn", {"streams": "pixel"}, "its memory has another form"),
    ],
)
def test_what_cannot_be_exported_says_why(name, overrides, reason):
    with pytest.raises(ConfigError, match=reason):
        portable_verbs(tiny_network(name, **overrides))


def test_a_network_that_nobody_registered_is_refused():
    with pytest.raises(ConfigError, match="is not a network that the registry knows"):
        portable_verbs(torch.nn.Linear(1, 1))
