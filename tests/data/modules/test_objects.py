"""Batches of single objects of YouTube-VOS."""

from __future__ import annotations

import json

import pytest

from vos_zoo.data.modules.objects import ObjectsDataModule
from vos_zoo.errors import DataError, MissingFileError


def test_an_epoch_has_as_many_clips_as_there_are_objects(listed_objects):
    options = {"batch_size": 1, "num_workers": 0, "crop_size": (32, 64), "max_objects": 1}
    data = ObjectsDataModule(str(listed_objects), **options)
    data.setup("fit")
    assert len(data.train_dataloader()) == 3
    (listed_objects / "held_out.txt").write_text("long\n")
    one = ObjectsDataModule(str(listed_objects), without="held_out.txt", samples_per_epoch=7, **options)
    one.setup("fit")
    assert len(one.train_dataloader()) == 7
    assert {name for batch in one.train_dataloader() for name in batch["name"]} == {"short"}


def test_a_split_without_sequences_is_refused(listed_objects):
    path = listed_objects / "youtube-vos" / "train" / "meta.json"
    meta = json.loads(path.read_text())
    for video in meta["videos"].values():
        for entry in video["objects"].values():
            entry["frames"] = entry["frames"][:1]
    path.write_text(json.dumps(meta))
    with pytest.raises(DataError, match="None of 2 videos has an object"):
        ObjectsDataModule(str(listed_objects)).setup("fit")
    with pytest.raises(MissingFileError, match=r"no file 'list\.txt'"):
        ObjectsDataModule(str(listed_objects), without="list.txt").setup("fit")
    with pytest.raises(MissingFileError):
        ObjectsDataModule(str(listed_objects / "nowhere")).setup("fit")
