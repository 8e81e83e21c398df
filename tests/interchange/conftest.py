from __future__ import annotations

import pytest

from testing.results import moving_masks, write_results
from testing.videos import clip, write_video


@pytest.fixture
def pictures():
    return clip(8)


@pytest.fixture
def masks():
    return moving_masks(8)


@pytest.fixture
def results(tmp_path, pictures, masks):
    """Results of a video file of 8 frames, with objects 1 and 2."""
    return write_results(tmp_path / "masks", masks, write_video(tmp_path / "clip.mp4", pictures))
