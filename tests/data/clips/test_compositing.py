from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.data.clips import compositing, motion
from vos_zoo.data.clips.compositing import PasteSettings, Sprite
from vos_zoo.data.clips.motion import MotionRange
from vos_zoo.errors import ConfigError

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


def coloured(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose pure colours say what its label map says."""
    labels = np.zeros((60, 80), np.uint8)
    rng = np.random.default_rng(seed)
    for label in (1, 2, 3):
        top, left = rng.integers(5, 35), rng.integers(5, 50)
        labels[top : top + 18, left : left + 20] = label
    return COLOURS[labels], labels


@pytest.mark.parametrize("ranges", [motion.CHAINED_STATIC, motion.PAPER_STATIC], ids=["chained", "independent"])
def test_images_and_labels_move_together(ranges):
    image, labels = coloured()
    rng = np.random.default_rng(5)
    matrices = motion.about_centre(motion.sample_motion(rng, 5, ranges), 64)
    warps = motion.sample_warps(rng, 5, MotionRange(warp_probability=1))
    images, masks = compositing.warp_frames([image], [labels], matrices, warps, 64, rng)
    for frame, mask in zip(images, masks, strict=True):
        for label in np.unique(mask[mask > 0]):
            colour = np.median(frame[mask == label], axis=0)
            assert sorted(colour.tolist()) == [0, 0, 255]
            outside = (frame > 127)[..., int(colour.argmax())] != (mask == label)
            # Both are interpolated at the same positions; only rounding at exactly half can differ.
            assert outside.mean() < 0.002


def test_labels_are_renumbered_from_one():
    image, labels = coloured()
    labels[labels == 2] = 77
    _, masks = compositing.warp_frames([image], [labels], np.eye(3)[None], [None], 64, np.random.default_rng(0))
    assert set(np.unique(masks)) == {0, 1, 2, 3}


def test_at_most_three_labels_are_followed():
    labels = np.repeat(np.arange(8, dtype=np.uint8), 8)[None].repeat(64, 0)
    picture = np.zeros((64, 64, 3), np.uint8)
    _, masks = compositing.warp_frames([picture], [labels], np.eye(3)[None], [None], 64, np.random.default_rng(0))
    assert masks.max() == compositing.MAX_LABELS


def test_more_labels_are_followed_on_request():
    labels = np.repeat(np.arange(8, dtype=np.uint8), 8)[None].repeat(64, 0)
    picture = np.repeat(labels[..., None], 3, axis=2)
    identity = np.eye(3)[None]
    images, masks = compositing.warp_frames(
        [picture], [labels], identity, [None], 64, np.random.default_rng(0), max_labels=8
    )
    assert set(np.unique(masks)) == set(range(8))
    for label in range(1, 8):  # each id still names one stripe
        assert len(np.unique(images[0][masks[0] == label])) == 1


def test_without_objects_labels_are_zero():
    picture, empty = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8)
    _, masks = compositing.warp_frames([picture], [empty], np.eye(3)[None], [None], 16, np.random.default_rng(0))
    assert not masks.any()


def test_pasted_sprite_covers_what_lies_below():
    images, labels = np.zeros((3, 64, 64, 3), np.uint8), np.ones((3, 64, 64), np.uint8)
    sprite = Sprite([np.full((20, 30, 3), 200, np.uint8)], [np.full((20, 30), 255, np.uint8)])
    compositing.paste_sprite(images, labels, sprite, 2, PasteSettings(motion=MotionRange()), np.random.default_rng(0))
    for image, mask in zip(images, labels, strict=True):
        assert set(np.unique(mask)) == {1, 2}
        assert (image[mask == 2] > 95).all()
        assert (image[mask == 1] < 105).all()


def test_sprite_size_is_a_share_of_the_frame():
    labels = np.zeros((1, 100, 100), np.uint8)
    sprite = Sprite([np.full((40, 20, 3), 200, np.uint8)], [np.full((40, 20), 255, np.uint8)])
    paste = PasteSettings(size=(0.2, 0.2), motion=MotionRange())
    compositing.paste_sprite(np.zeros((1, 100, 100, 3), np.uint8), labels, sprite, 1, paste, np.random.default_rng(1))
    rows, columns = np.nonzero(labels[0])
    assert abs(np.ptp(rows) + 1 - 20) <= 2
    assert abs(np.ptp(columns) + 1 - 10) <= 2


def test_sprite_that_leaves_the_frame_changes_nothing():
    images, labels = np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 32, 32), np.uint8)
    far = PasteSettings(motion=MotionRange(translation=50))
    sprite = Sprite([np.full((12, 12, 3), 200, np.uint8)], [np.full((12, 12), 255, np.uint8)])
    compositing.paste_sprite(images, labels, sprite, 1, far, np.random.default_rng(0))
    assert labels[0].any()
    assert not labels[1].any()
    assert not images[1].any()


def test_cut_sprite_takes_one_box_for_all_frames():
    mattes = np.zeros((2, 40, 40), bool)
    mattes[0, 5:15, 5:15] = True
    mattes[1, 10:30, 8:20] = True
    sprite = compositing.cut_sprite(list(np.zeros((2, 40, 40, 3), np.uint8)), list(mattes))
    assert sprite is not None
    assert [image.shape for image in sprite.images] == [(25, 15, 3)] * 2
    assert [matte.shape for matte in sprite.mattes] == [(25, 15)] * 2


@pytest.mark.parametrize("side", [0, 1, 5])
def test_tiny_objects_are_not_cut(side):
    matte = np.zeros((40, 40), bool)
    matte[3 : 3 + side, 3 : 3 + side] = True
    assert compositing.cut_sprite([np.zeros((40, 40, 3), np.uint8)], [matte]) is None


def test_present_ids_and_object_pixels():
    labels = np.zeros((9, 9), np.uint8)
    assert compositing.present_ids(labels).tolist() == []
    assert compositing.random_object_pixel(labels, np.random.default_rng(0)) is None
    labels[4, 7], labels[2, 2] = 255, 3
    assert compositing.present_ids(labels).tolist() == [3, 255]
    for seed in range(5):
        x, y = compositing.random_object_pixel(labels, np.random.default_rng(seed))
        assert labels[int(y), int(x)] > 0


def square_sprite() -> Sprite:
    return Sprite([np.full((12, 12, 3), 200, np.uint8)], [np.full((12, 12), 255, np.uint8)])


def paste_on_empty(paste: PasteSettings, seed: int, *, frames: int = 5) -> np.ndarray:
    labels = np.zeros((frames, 64, 64), np.uint8)
    images = np.zeros((frames, 64, 64, 3), np.uint8)
    compositing.paste_sprites(images, labels, square_sprite, paste, np.random.default_rng(seed))
    assert (images[labels > 0] > 95).all()
    assert (images[labels == 0] < 105).all()
    return labels


def test_counts_are_shares():
    paste = PasteSettings(counts=(0.25, 0.5, 0.25), size=(0.05, 0.05), motion=MotionRange())
    found = np.bincount([paste_on_empty(paste, seed, frames=1).max() for seed in range(200)], minlength=3)
    # Binomial(200, 0.25) and Binomial(200, 0.5): standard deviations 6.1 and 7.1, five of them.
    assert np.abs(found - [50, 100, 50]).max() < 36


def test_twins_are_two_objects_of_one_look():
    paste = PasteSettings(counts=(0, 1), size=(0.1, 0.1), motion=MotionRange(), twins=1)
    labels = paste_on_empty(paste, 0)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert set(np.unique(paste_on_empty(PasteSettings(counts=(0, 1), motion=MotionRange()), 0))) == {0, 1}


def test_hidden_sprites_come_back():
    paste = PasteSettings(counts=(0, 1), motion=MotionRange(), hidden=1)
    away = set()
    for seed in range(60):
        is_there = paste_on_empty(paste, seed).any(axis=(1, 2)).tolist()
        assert is_there[0]
        assert is_there[-1]
        away.add(tuple(index for index in range(5) if not is_there[index]))
    assert away == {(1,), (2,), (3,), (1, 2), (2, 3), (1, 2, 3)}


@pytest.mark.parametrize("frames", [1, 2])
def test_without_frames_between_nothing_is_hidden(frames):
    labels = paste_on_empty(PasteSettings(counts=(0, 1), motion=MotionRange(), hidden=1), 0, frames=frames)
    assert labels.any(axis=(1, 2)).all()


def test_no_sprite_pastes_nothing():
    labels = np.zeros((2, 32, 32), np.uint8)
    paste = PasteSettings(counts=(0, 0, 1))
    compositing.paste_sprites(np.zeros((2, 32, 32, 3), np.uint8), labels, lambda: None, paste, np.random.default_rng(0))
    assert not labels.any()


@pytest.mark.parametrize("chance", [{"twins": 1.5}, {"hidden": -0.1}])
def test_chances_out_of_range(chance):
    with pytest.raises(ConfigError, match="chances from 0 to 1"):
        PasteSettings(**chance)
