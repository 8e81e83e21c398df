"""Training on single objects of YouTube-VOS."""

from __future__ import annotations

import json

import pytest

from vos_zoo.data.modules.objects import ObjectsDataModule
from vos_zoo.errors import DataError, MissingFileError


def test_an_epoch_has_as_many_clips_as_there_are_objects(objects_root):
    options = {"batch_size": 1, "num_workers": 0, "crop_size": (32, 64), "max_objects": 1}
    data = ObjectsDataModule(str(objects_root), **options)
    data.setup("fit")
    assert len(data.train_dataloader()) == 3
    (objects_root / "held_out.txt").write_text("long\n")
    one = ObjectsDataModule(str(objects_root), without="held_out.txt", samples_per_epoch=7, **options)
    one.setup("fit")
    assert len(one.train_dataloader()) == 7
    assert {name for batch in one.train_dataloader() for name in batch["name"]} == {"short"}


def test_a_split_without_sequences_is_refused(objects_root):
    path = objects_root / "youtube-vos" / "train" / "meta.json"
    meta = json.loads(path.read_text())
    for video in meta["videos"].values():
        for entry in video["objects"].values():
            entry["frames"] = entry["frames"][:1]
    path.write_text(json.dumps(meta))
    with pytest.raises(DataError, match="None of 2 videos has an object"):
        ObjectsDataModule(str(objects_root)).setup("fit")
    with pytest.raises(MissingFileError, match=r"no file 'list\.txt'"):
        ObjectsDataModule(str(objects_root), without="list.txt").setup("fit")
    with pytest.raises(MissingFileError):
        ObjectsDataModule(str(objects_root / "nowhere")).setup("fit")
