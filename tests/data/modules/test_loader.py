"""What a loader says when a worker cannot read a file."""

from __future__ import annotations

import shutil

import pytest

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, batches
from vos_zoo.data.modules.davis import DAVISDataModule
from vos_zoo.errors import DataError

pytestmark = LIGHTNING_WARNINGS


def test_a_damaged_picture_ends_the_run_with_its_name(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    for path in (tmp_path / "train/JPEGImages/480p/ant").iterdir():
        path.write_bytes(b"\xff\xd8\xff damaged")
    data = DAVISDataModule(str(tmp_path / "train"), **{**SMALL, "num_workers": 1}, image_set="2017/train")
    with pytest.raises(DataError, match=r"^Image 'JPEGImages/480p/ant/000\d\d\.jpg' in .* cannot be decoded"):
        batches(data)
