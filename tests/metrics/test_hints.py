"""Results that score badly for a reason that can be seen: names shifted by one, ids swapped."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.cli.main import main
from vos_zoo.errors import EvaluationError
from vos_zoo.media.masks import write_mask
from vos_zoo.metrics import evaluate


def write(folder, masks, first=0):
    for index, mask in enumerate(masks):
        write_mask(folder / f"{index + first:05d}.png", mask)
    return folder


@pytest.fixture
def truth(tmp_path):
    """One object that moves by 6 pixels a frame beside one that stands still."""
    masks = []
    for index in range(10):
        mask = np.zeros((40, 90), np.uint8)
        mask[5:25, 4 + 6 * index : 24 + 6 * index] = 1
        mask[28:38, 40:60] = 2
        masks.append(mask)
    return write(tmp_path / "truth" / "clip", masks).parent, masks


def test_right_results_raise_no_suspicion(truth, tmp_path, caplog):
    folder, masks = truth
    evaluate(write(tmp_path / "results" / "clip", masks).parent, folder)
    noisy = [np.roll(mask, 4, axis=0) for mask in masks]
    evaluate(write(tmp_path / "noisy" / "clip", noisy).parent, folder)
    copied = [masks[0]] * len(masks)
    evaluate(write(tmp_path / "copied" / "clip", copied).parent, folder)
    assert not caplog.records


@pytest.mark.parametrize(("first", "word"), [(1, "after"), (-1, "before")])
def test_names_shifted_by_one_are_told(truth, tmp_path, caplog, first, word):
    folder, masks = truth
    shown = masks if first > 0 else masks[1:]
    evaluate(write(tmp_path / "results" / "clip", shown, max(first, 0)).parent, folder)
    assert f"In clip the results of the frame {word} fit better (J 100.0 instead of" in caplog.text
    assert "names may be shifted by one" in caplog.text


def test_a_missing_result_is_explained_by_a_shift(truth, tmp_path):
    _, masks = truth
    counted_from_one = write(tmp_path / "one" / "clip", masks, 1).parent
    results = write(tmp_path / "results" / "clip", masks).parent
    with pytest.raises(EvaluationError, match=r"no result .*00010\.png.* look shifted by one"):
        evaluate(results, counted_from_one, protocol="youtube-vos")
    (results / "clip" / "00004.png").unlink()
    with pytest.raises(EvaluationError, match="no result") as raised:
        evaluate(results, counted_from_one, protocol="youtube-vos")
    assert "shifted" not in str(raised.value)


def test_swapped_ids_are_told(truth, tmp_path, caplog, capsys):
    folder, masks = truth
    swapped = [np.where(mask == 1, 2, np.where(mask == 2, 1, 0)).astype(np.uint8) for mask in masks]
    results = write(tmp_path / "results" / "clip", swapped).parent
    evaluate(results, folder)
    assert "object 1 of the annotations fits object 2 of the results" in caplog.text
    assert "ids may be swapped" in caplog.text
    assert main(["evaluate", str(results), str(folder), "--processes", "1"]) == 0
    assert "ids may be swapped" in capsys.readouterr().err
    caplog.clear()
    evaluate(results, folder, protocol="davis2016")  # where every object is the same
    assert not caplog.records
