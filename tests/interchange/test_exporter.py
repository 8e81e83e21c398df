from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame

MASK = np.array([[0, 1], [2, 2]], np.uint8)


def frame(**options) -> ResultFrame:
    given = {"index": 0, "name": "00000", "time": None, "mask": MASK, "probabilities": None, "load_image": lambda: None}
    return ResultFrame(**{**given, **options})


def test_opacity_of_a_mask_is_all_or_nothing():
    assert frame().opacity().tolist() == [[0, 255], [255, 255]]
    assert frame().opacity(2).tolist() == [[0, 0], [255, 255]]
    assert frame().opacity(7).tolist() == [[0, 0], [0, 0]]


def test_opacity_of_probabilities_is_their_sum_up_to_certain():
    # In a mask of this size every pixel lies at the outline.
    soft = frame(
        probabilities={1: np.array([[9, 200], [0, 0]], np.uint8), 2: np.array([[0, 100], [255, 90]], np.uint8)}
    )
    assert soft.opacity(1).tolist() == [[9, 200], [0, 0]]
    assert soft.opacity(2).tolist() == [[0, 100], [255, 90]]
    assert soft.opacity(7).tolist() == [[0, 0], [0, 0]]
    assert soft.opacity().tolist() == [[9, 255], [255, 90]]


def test_an_image_is_read_once_and_only_when_it_is_used():
    calls = []
    lazy = frame(load_image=lambda: calls.append(1) or np.zeros((2, 2, 3), np.uint8))
    assert not calls
    assert lazy.image is lazy.image
    assert calls == [1]


@pytest.mark.parametrize(("error", "ends"), [(None, ["close"]), (ValueError, ["discard"])])
def test_an_export_that_fails_is_not_finished(tmp_path, error, ends):
    happened = []

    class Noted(Exporter):
        def write(self, frame):
            if error:
                raise error

        def close(self):
            happened.append("close")

        def discard(self):
            happened.append("discard")

    video = ExportedVideo("clip", (2, 2), ["00000"], [0], ["00000.jpg"], (1, 2))
    try:
        with Noted(tmp_path / "out", video) as exporter:
            exporter.write(frame())
    except ValueError:
        pass
    assert happened == ends
