"""Training and validation on a DAVIS root."""

from __future__ import annotations

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, batches
from vos_zoo.data.modules.davis import DAVISDataModule

pytestmark = LIGHTNING_WARNINGS


def test_davis_module_reads_an_image_set(data_root):
    found = batches(DAVISDataModule(str(data_root / "train"), image_set="2017/train", **SMALL))
    assert {name for batch in found for name in batch["name"]} <= {"ant", "bee"}


def test_davis_validates_on_its_own_list(data_root):
    data = DAVISDataModule(str(data_root / "train"), **SMALL, validation_set="2017/train", merges_objects=True)
    data.setup("validate")
    videos = list(data.val_dataloader())
    assert [video["name"] for video in videos] == ["bee", "ant"]
    assert max(mask.max() for video in videos for mask in video["masks"]) == 1
