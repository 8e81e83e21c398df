from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.results import moving_masks, write_results
from testing.videos import clip, write_frames, write_video
from vos_zoo.errors import ConfigError, MaskError, MissingFileError, UsageError, VideoError, VosZooError
from vos_zoo.interchange.results import Results
from vos_zoo.media.masks import write_mask
from vos_zoo.media.reader import open_video

KEYS = st.sampled_from(["settings", "video", "start", "end", "every", "levels", "finished", "passes"])
BAD_NUMBERS = [
    f'{{"settings": {{"video": null}}, {rest}}}'
    for rest in ('"finished": -1', '"finished": "2"', '"passes": 3', '"passes": [[1]]', '"passes": [[0, -4]]')
]


def frames_of(results, *, with_images=False):
    objects = results.check(lambda done: None)
    return list(results.frames(objects, with_images=with_images, soft=False))


def test_the_run_names_its_video(results, masks, tmp_path):
    opened = Results(results, needs_video=True)
    assert len(opened) == 8
    assert opened.check(lambda done: None) == (1, 2)
    video = opened.describe((1, 2), {})
    assert (video.name, video.size, video.fps, video.sound) == ("clip", (48, 64), 25, tmp_path / "clip.mp4")
    assert video.frame_files[3] == "00003.jpg"
    found = frames_of(opened, with_images=True)
    assert [float(frame.time) for frame in found] == pytest.approx([n / 25 for n in range(8)])
    for frame, mask, read in zip(found, masks, open_video(tmp_path / "clip.mp4"), strict=True):
        np.testing.assert_array_equal(frame.mask, mask)
        np.testing.assert_array_equal(frame.image, read.image)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_part_of_a_video_keeps_its_positions(tmp_path, kind):
    source = write_video(tmp_path / "clip.mp4", clip(12)) if kind == "file" else write_frames(tmp_path / "f", clip(12))
    names = [f"{index:05d}" for index in (3, 5, 7, 9)]
    folder = write_results(tmp_path / "masks", moving_masks(4), source, names=names, start=3, end=11, every=2)
    found = frames_of(Results(folder, needs_video=True), with_images=True)
    assert [(frame.index, frame.name) for frame in found] == [(3, "00003"), (5, "00005"), (7, "00007"), (9, "00009")]
    whole = list(open_video(source))
    for frame in found:
        np.testing.assert_array_equal(frame.image, whole[frame.index].image)
    opened = Results(folder)
    opened.check(lambda done: None)
    assert opened.describe((1, 2), {}).fps == (25 if kind == "file" else None)


def test_any_folder_of_masks_with_a_video(tmp_path):
    source = write_frames(tmp_path / "birds", clip(6), [f"img_{n}.png" for n in range(6)])
    masks = moving_masks(6)
    for number in (1, 4):
        write_mask(tmp_path / "masks" / f"img_{number}.png", masks[number])
    opened = Results(tmp_path / "masks", video=source)
    found = frames_of(opened, with_images=True)
    assert [(frame.index, frame.name) for frame in found] == [(1, "img_1"), (4, "img_4")]
    np.testing.assert_array_equal(found[1].image, clip(6)[4])
    assert opened.describe((1, 2), {}).frame_files == ["img_1.png", "img_4.png"]


def test_masks_alone(tmp_path):
    for number, mask in enumerate(moving_masks(11)):
        write_mask(tmp_path / "robin" / f"f{number}.png", mask)
    opened = Results(tmp_path / "robin")
    found = frames_of(opened)
    assert [frame.name for frame in found] == [f"f{n}" for n in range(11)]
    video = opened.describe((1, 2), {1: "robin"})
    assert (video.name, video.size, video.path, video.fps, video.label(1)) == ("robin", (48, 64), None, None, "robin")
    with pytest.raises(UsageError, match="needs_images = True"):
        assert found[0].image is None
    with pytest.raises(MissingFileError, match=r"does not say which video.*--video"):
        Results(tmp_path / "robin", needs_video=True)


def test_255_is_an_id_in_results_and_void_elsewhere(tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    mask[10:40, 10:40] = 1
    mask[9, 9:41] = mask[40, 9:41] = mask[9:41, 9] = mask[9:41, 40] = 255
    write_mask(tmp_path / "masks" / "00000.png", mask)
    assert Results(tmp_path / "masks").check(lambda done: None) == (1,)
    assert Results(tmp_path / "masks", void=None).check(lambda done: None) == (1, 255)
    folder = write_results(tmp_path / "run", [mask], "somewhere")
    assert Results(folder).check(lambda done: None) == (1, 255)


def test_a_run_that_stopped_gives_what_it_finished(tmp_path, caplog):
    source = write_video(tmp_path / "clip.mp4", clip(8))
    folder = write_results(tmp_path / "masks", moving_masks(8), source, finished=5)
    assert len(Results(folder)) == 5
    assert "5 of 8 frames are finished" in caplog.text


@pytest.mark.parametrize(
    ("passes", "finished", "expected"),
    [
        ([[0, 7]], 3, [0, 1, 2]),
        ([[7, 0]], 3, [5, 6, 7]),
        # Backwards from frame 5, then forwards from frame 2, which blends 2 to 5.
        ([[5, 0], [2, 7]], 3, []),
        ([[5, 0], [2, 7]], 5, [1]),
        ([[5, 0], [2, 7]], 9, [0, 1, 2, 3, 4]),
        ([[5, 0], [2, 7]], 12, list(range(8))),
    ],
)
def test_frames_of_several_passes_are_finished_by_the_last_one(results, passes, finished, expected):
    file = results / "run.json"
    note = json.loads(file.read_text()) | {"passes": passes, "finished": finished, "complete": False}
    file.write_text(json.dumps(note))
    if expected:
        assert [frame.index for frame in frames_of(Results(results))] == expected
    else:
        with pytest.raises(MaskError, match="not finished any frame"):
            Results(results)


def test_a_complete_run_has_every_frame_however_many_steps_it_took(tmp_path):
    folder = write_results(tmp_path / "masks", moving_masks(8), write_video(tmp_path / "clip.mp4", clip()), finished=5)
    note = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(note | {"complete": True, "finished": 12}))
    assert len(Results(folder)) == 8


def test_finished_masks_that_are_gone_are_missed(results):
    (results / "00004.png").unlink()
    with pytest.raises(MissingFileError, match=r"1 masks of finished frames.*00004\.png"):
        Results(results)


def test_a_video_that_is_gone(results, tmp_path):
    (tmp_path / "clip.mp4").rename(tmp_path / "moved.mp4")
    assert len(Results(results)) == 8
    with pytest.raises(MissingFileError, match=r"clip\.mp4`, which is not there.*--video"):
        Results(results, needs_video=True)
    assert len(frames_of(Results(results, video=tmp_path / "moved.mp4", needs_video=True), with_images=True)) == 8


def test_a_video_of_another_size(results, tmp_path):
    other = write_video(tmp_path / "other.mp4", clip(8, (32, 40)))
    with pytest.raises(MaskError, match=r"is 64x48 \(width x height\), the video `.*other\.mp4` 40x32"):
        Results(results, video=other).check(lambda done: None)


def test_masks_of_two_sizes(tmp_path):
    write_mask(tmp_path / "a.png", np.ones((4, 4), np.uint8))
    write_mask(tmp_path / "b.png", np.ones((4, 5), np.uint8))
    with pytest.raises(MaskError, match=r"b\.png` is 5x4 .*those before it.*4x4"):
        Results(tmp_path).check(lambda done: None)


def test_a_video_with_fewer_frames_than_masks(results, tmp_path):
    shorter = write_video(tmp_path / "shorter.mp4", clip(5))
    with pytest.raises((MaskError, VideoError, MissingFileError)):
        Results(results, video=shorter)
    for number, mask in enumerate(moving_masks(8)):
        write_mask(tmp_path / "plain" / f"{number:05d}.png", mask)
    with pytest.raises(MaskError, match=r"3 of the masks in .* match no frame"):
        Results(tmp_path / "plain", video=shorter)


def test_a_video_that_announces_more_frames_than_it_gives(results, monkeypatch):
    opened = Results(results, needs_video=True)
    monkeypatch.setattr(type(opened._reader), "__iter__", lambda self: iter(()))
    with pytest.raises(VideoError, match="ended before frame 0, which has a mask"):
        frames_of(opened, with_images=True)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"settings": 3}', '{"settings": {"video": 7}}', "{" * 9999, *BAD_NUMBERS]
)
def test_a_damaged_run_file(tmp_path, content):
    folder = write_results(tmp_path / "masks", moving_masks(2), "clip.mp4")
    (folder / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=r"run\.json` is damaged"):
        Results(folder)


def test_a_run_file_of_version_0_1(results):
    content = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps({"settings": content["settings"]}))
    assert len(Results(results)) == 8


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.sampled_from(["", "clip", "type", "clip.mp4", "x"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=6),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(chosen=st.dictionaries(KEYS, JSON), rest=st.dictionaries(KEYS, JSON))
def test_any_run_file_is_read_or_refused_by_name(tmp_path_factory, chosen, rest):
    folder = tmp_path_factory.mktemp("masks")
    write_mask(folder / "00000.png", np.ones((4, 4), np.uint8))
    (folder / "run.json").write_text(json.dumps({**rest, "settings": chosen}))
    with contextlib.suppress(VosZooError):
        Results(folder).check(lambda done: None)


@pytest.mark.parametrize(
    ("make", "error"), [("nothing", "no folder"), ("file", "is a file"), ("empty", "holds no masks")]
)
def test_what_is_no_folder_of_masks(tmp_path, make, error):
    path = tmp_path / "x"
    if make == "file":
        path.touch()
    if make == "empty":
        path.mkdir()
    with pytest.raises((MissingFileError, MaskError), match=error):
        Results(path)
