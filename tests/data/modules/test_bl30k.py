"""Training on BL30K."""

from __future__ import annotations

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, batches
from vos_zoo.data.modules.bl30k import BL30KDataModule

pytestmark = LIGHTNING_WARNINGS


def test_bl30k(data_root, tmp_path):
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / folder).symlink_to(data_root / "train" / folder / "480p")
    found = batches(BL30KDataModule(str(tmp_path), **SMALL))
    assert {name for batch in found for name in batch["name"]} <= {"ant", "bee", "cow"}
