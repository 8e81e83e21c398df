"""Training on YouTube-VOS with videos held back for validation."""

from __future__ import annotations

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, batches
from vos_zoo.data.modules.youtube_vos import YouTubeVOSDataModule

pytestmark = LIGHTNING_WARNINGS


def test_youtube_vos_holds_back_validation_videos(youtube_vos_root):
    data = YouTubeVOSDataModule(str(youtube_vos_root), **SMALL, validation_names=["9f8e"], all_frames=True)
    assert {name for batch in batches(data) for name in batch["name"]} == {"0a1b"}
    (video,) = data.val_dataloader()
    assert video["name"] == "9f8e"
    assert video["annotated"] == [0, 5, 10, 15, 20, 25]
    assert len(video["frames"]) == 26
