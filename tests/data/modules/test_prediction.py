"""Videos for prediction: what is given, what is written."""

from __future__ import annotations

import numpy as np
import pytest

from testing.videos import write_frames, write_video
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.modules.prediction import ItemVideo, Newcomers, PredictionDataModule
from vos_zoo.errors import ConfigError, VosZooError
from vos_zoo.media.masks import write_mask


@pytest.fixture
def video():
    return moving_shapes(5, 32, 48, num_objects=2, late_frame=2, rng=1)


def videos_of(root, **options):
    data = PredictionDataModule(str(root), **options)
    data.setup("predict")
    return list(data.predict_dataloader())


def given(video):
    return [None if frame.mask is None else set(np.unique(frame.mask)) for frame in video]


def test_void_pixels_are_nobodys():
    annotation = np.array([[0, 3, 255]], np.uint8)
    assert Newcomers().given(annotation).tolist() == [[0, 3, 0]]


def test_benchmarks_give_an_object_where_it_appears(tmp_path, video):
    write_frames(tmp_path / "JPEGImages" / "480p" / "ash", list(video.frames))
    for index, mask in enumerate(video.masks):
        write_mask(tmp_path / "Annotations" / "480p" / "ash" / f"{index:05d}.png", mask)
    (ash,) = videos_of(tmp_path)
    assert (ash.name, ash.layout) == ("ash", "davis")
    assert given(ash) == [{0, 1}, None, {0, 2}, None, None]
    assert ash.written_names() == [f"{index:05d}" for index in range(5)]
    np.testing.assert_array_equal(np.stack([frame.image for frame in ash]), video.frames)


def test_own_masks_all_count(tmp_path, video):
    write_video(_folder(tmp_path / "videos") / "ash.mp4", list(video.frames))
    for index in (0, 3):
        write_mask(tmp_path / "masks" / "ash" / f"{index:05d}.png", video.masks[index])
    (ash,) = videos_of(tmp_path)
    assert (ash.name, ash.layout) == ("ash", "folder")
    assert given(ash) == [{0, 1}, None, None, {0, 1, 2}, None]
    assert len(ash.written_names()) == 5


def test_the_longest_video_comes_first(tmp_path, video):
    for name, count in (("ash", 3), ("birch", 5), ("cedar", 4)):
        write_frames(tmp_path / "JPEGImages" / "480p" / name, list(video.frames[:count]))
        write_mask(tmp_path / "Annotations" / "480p" / name / "00000.png", video.masks[0])
    assert [entry.name for entry in videos_of(tmp_path)] == ["birch", "cedar", "ash"]
    assert [entry.name for entry in videos_of(tmp_path, video_names=["ash"])] == ["ash"]


def test_validation_videos_can_be_predicted(video):
    item = ItemVideo({"frames": video.frames, "masks": video.masks, "annotated": list(range(5)), "name": "ash"})
    assert given(item) == [{0, 1}, None, {0, 2}, None, None]
    assert [frame.name for frame in item] == item.written_names()


def test_options_of_another_layout_are_refused(tmp_path, video):
    write_frames(tmp_path / "JPEGImages" / "480p" / "ash", list(video.frames))
    write_mask(tmp_path / "Annotations" / "480p" / "ash" / "00000.png", video.masks[0])
    with pytest.raises(ConfigError, match=r"all_frames is given, but .* has the layout davis"):
        videos_of(tmp_path, all_frames=True)


def test_a_root_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(VosZooError, match="nowhere"):
        videos_of(tmp_path / "nowhere")


def _folder(path):
    path.mkdir()
    return path
