"""Training and validation on generated shapes."""

from __future__ import annotations

from testing.data_modules import LIGHTNING_WARNINGS, SMALL
from vos_zoo.data.modules.synthetic import SyntheticDataModule

pytestmark = LIGHTNING_WARNINGS


def test_default_validation_needs_no_file():
    data = SyntheticDataModule(**SMALL, validation_frames=4)
    data.setup("validate")
    videos = list(data.val_dataloader())
    assert len(videos) == 4
    assert videos[0]["frames"].shape == (4, 120, 160, 3)
    assert [video["name"] for video in data.test_dataloader()] == [video["name"] for video in videos]
