"""Calibration: bad clips are refused; test_export.py holds the results."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.deployment.quantize import CalibrationClip, quantize
from vos_zoo.errors import MaskError, MissingFileError
from vos_zoo.media.masks import write_mask
from vos_zoo.runtime import read_manifest

pytest.importorskip("onnxruntime")


@pytest.fixture
def copied(rde_graphs, tmp_path):
    import shutil

    return shutil.copytree(rde_graphs, tmp_path / "graphs")


def test_a_clip_that_is_not_there(copied):
    with pytest.raises(MissingFileError):
        quantize(copied, read_manifest(copied), [CalibrationClip("nowhere", "none.png")], finished=lambda: None)


def test_a_mask_of_another_size(copied, small_clip, tmp_path):
    write_mask(tmp_path / "mask.png", np.ones((10, 10), np.uint8))
    clip = CalibrationClip(small_clip.frames, tmp_path / "mask.png")
    with pytest.raises(MaskError, match=r"mask\.png. is 10x10 "):
        quantize(copied, read_manifest(copied), [clip], finished=lambda: None)
    assert not [path for path in copied.iterdir() if path.name.startswith(".calibration")]
