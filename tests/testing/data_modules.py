"""Small batches of data modules, for tests."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.data.modules.base import ClipDataModule

# Lightning 2.6 asks torch for a class that torch 2.9 and later call deprecated.
LIGHTNING_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

SMALL = {"batch_size": 2, "crop_size": 32, "num_frames": 3, "samples_per_epoch": 6, "num_workers": 0}


def batches(data: ClipDataModule, epoch: int = 0) -> list[dict]:
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_equal(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["name"] == other["name"]
        for key in ("images", "masks", "valid_objects", "first_masks"):
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)
