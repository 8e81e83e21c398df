from __future__ import annotations

import numpy as np
import pytest

from testing.annotations import SAMPLES, SIZE, TRUTH, export, names, opened
from vos_zoo.errors import MaskError, MissingFileError
from vos_zoo.interchange.coco import CocoExporter
from vos_zoo.interchange.opening import open_masks
from vos_zoo.interchange.reading import MaskReading
from vos_zoo.segmentation.frames import segment_frames
from vos_zoo.segmentation.video import segment_video


def test_masks_in_memory_and_images_of_ids_go_the_usual_way():
    np.testing.assert_array_equal(open_masks(TRUTH[0], names(3), SIZE).get("00000"), TRUTH[0])
    np.testing.assert_array_equal(opened(SAMPLES / "truth_00001.png").get("00000"), TRUTH[1])


def test_images_of_ids_may_count_frames_from_1(tmp_path):
    for number in (1, 2):
        (tmp_path / f"m_{number}.png").write_bytes((SAMPLES / f"truth_0000{number - 1}.png").read_bytes())
    with pytest.raises(MaskError, match="two ways"):
        opened(tmp_path)
    masks = opened(tmp_path, first_frame_number=1)
    np.testing.assert_array_equal(masks.get("00001"), TRUTH[1])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"a\.json"):
        opened(tmp_path / "a.json")


def test_objects_are_told_once(tmp_path, caplog):
    export(CocoExporter, tmp_path / "a.json", TRUTH, labels={1: "a\x1b[2Jdog"})
    caplog.set_level("INFO")
    opened(tmp_path / "a.json")
    assert caplog.text.count(r"1 is a\x1b[2Jdog (track 1), 2 is object 2 (track 2)") == 1


@pytest.fixture
def clip_annotations(small_clip, tmp_path):
    from vos_zoo.media.masks import read_mask

    masks = [read_mask(path) for path in sorted(small_clip.masks.iterdir())]
    export(CocoExporter, tmp_path / "a.json", masks[:1])
    return small_clip, tmp_path / "a.json", masks[0]


def test_a_video_is_segmented_from_annotations(clip_annotations, tiny_model, tmp_path):
    clip, path, first = clip_annotations
    expected = [result.mask for result in segment_frames(clip.frames, first, model=tiny_model)]
    found = [result.mask for result in segment_frames(clip.frames, path, model=tiny_model)]
    for mask, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mask, other)
    report = segment_video(clip.frames, path, out=tmp_path / "out", model=tiny_model, mask_reading=MaskReading())
    assert report.objects == (1,)


def test_a_run_is_resumed_with_the_same_reading_only(clip_annotations, tiny_model, tmp_path):
    from vos_zoo.errors import ConfigError

    clip, path, _ = clip_annotations
    reading = MaskReading(objects_by="label")
    segment_video(clip.frames, path, out=tmp_path / "out", model=tiny_model, mask_reading=reading)
    with pytest.raises(ConfigError, match="mask_reading"):
        segment_video(clip.frames, path, out=tmp_path / "out", model=tiny_model, resume=True)
    segment_video(clip.frames, path, out=tmp_path / "out", model=tiny_model, mask_reading=reading, resume=True)
