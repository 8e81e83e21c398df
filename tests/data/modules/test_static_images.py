"""Training on pictures with masks."""

from __future__ import annotations

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, assert_equal, batches
from vos_zoo.data.modules.static_images import StaticImagesDataModule

pytestmark = LIGHTNING_WARNINGS


def test_static_module_accepts_the_folder_of_pairs_itself(data_root):
    assert_equal(
        batches(StaticImagesDataModule(str(data_root), **SMALL)),
        batches(StaticImagesDataModule(str(data_root / "pairs"), **SMALL)),
    )
