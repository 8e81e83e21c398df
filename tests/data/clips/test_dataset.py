from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from vos_zoo.data.clips.dataset import (
    RETRIES,
    ClipDataset,
    ClipRequest,
    ClipSettings,
    LabelledClip,
    collate_clips,
    normalise,
)
from vos_zoo.data.clips.shapes import MovingShapes
from vos_zoo.errors import ConfigError


@dataclass
class Constant:
    """Source of always the same labels; counts how often it is asked."""

    labels: np.ndarray
    asked: int = 0

    def sample(self, rng, *, num_frames, crop_size, max_gap, max_objects):
        self.asked += 1
        images = np.full((num_frames, crop_size, crop_size, 3), 128, np.uint8)
        return LabelledClip(images, np.repeat(self.labels[None], num_frames, axis=0), "constant")


def boxes(*labels: int, side: int = 10, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    for place, label in enumerate(labels):
        mask[:side, place * 10 : place * 10 + side] = label
    return mask


@pytest.mark.parametrize(("num_frames", "crop_size", "max_objects"), [(1, 16, 1), (3, 40, 2), (5, 48, 3)])
def test_item_has_the_promised_shapes(num_frames, crop_size, max_objects):
    dataset = ClipDataset([MovingShapes()], ClipSettings(num_frames, crop_size, max_objects))
    item = dataset[0]
    assert item["images"].shape == (num_frames, 3, crop_size, crop_size)
    assert item["images"].dtype == torch.float32
    assert item["masks"].shape == (num_frames, crop_size, crop_size)
    assert item["masks"].dtype == torch.uint8
    assert item["masks"].max() <= max_objects
    assert item["valid_objects"].shape == (max_objects,)
    assert item["valid_objects"].dtype == torch.bool
    assert item["first_masks"].shape == (max_objects, crop_size, crop_size)
    assert item["first_masks"].dtype == torch.float32


def test_crops_need_not_be_square():
    item = ClipDataset([MovingShapes()], ClipSettings(2, (24, 40), 2))[0]
    assert item["images"].shape == (2, 3, 24, 40)
    assert item["first_masks"].shape == (2, 24, 40)


def test_exact_first_masks_equal_the_planes_of_frame_zero():
    item = ClipDataset([MovingShapes()], ClipSettings(2, 40, 2))[3]
    for plane in range(2):
        torch.testing.assert_close(item["first_masks"][plane], (item["masks"][0] == plane + 1).float())


def test_normalisation_is_imagenets():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((images / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(normalise(images).numpy(), expected, atol=1e-5)
    assert normalise(images).is_contiguous()


def test_same_request_same_clip():
    first, second = (ClipDataset([MovingShapes()], ClipSettings(3, 32), seed=5) for _ in range(2))
    request = ClipRequest(2, 7, 5)
    torch.testing.assert_close(first[request]["images"], second[request]["images"], rtol=0, atol=0)


@pytest.mark.parametrize("other", [ClipRequest(3, 7, 5), ClipRequest(2, 8, 5)], ids=["epoch", "number"])
def test_another_request_another_clip(other):
    dataset = ClipDataset([MovingShapes()], ClipSettings(3, 32), seed=5)
    assert not torch.equal(dataset[ClipRequest(2, 7, 5)]["images"], dataset[other]["images"])


def test_another_seed_another_clip():
    first, second = (ClipDataset([MovingShapes()], ClipSettings(3, 32), seed=seed) for seed in (1, 2))
    assert not torch.equal(first[0]["images"], second[0]["images"])


def test_objects_are_chosen_at_random_and_the_rest_is_background():
    dataset = ClipDataset([Constant(boxes(4, 9, 200))], ClipSettings(1, 40, 2))
    chosen = set()
    for number in range(40):
        mask = dataset[number]["masks"][0].numpy()
        planes = [boxes(4, 9, 200)[mask == plane] for plane in (1, 2)]
        assert all(len(np.unique(plane)) == 1 and len(plane) == 100 for plane in planes)
        chosen.add(tuple(int(plane[0]) for plane in planes))
    assert chosen == {(a, b) for a in (4, 9, 200) for b in (4, 9, 200) if a != b}


def test_small_objects_are_not_chosen():
    labels = boxes(1)
    labels[30, 30] = 2
    dataset = ClipDataset([Constant(labels)], ClipSettings(1, 40, 2, min_object_area=0.01))
    assert all(dataset[number]["valid_objects"].tolist() == [True, False] for number in range(5))
    assert (dataset[0]["masks"][0].numpy() == (labels == 1)).all()


def test_without_a_least_area_one_pixel_is_followed():
    labels = np.zeros((40, 40), np.uint8)
    labels[3, 4] = 7
    item = ClipDataset([Constant(labels)], ClipSettings(1, 40, 2, min_object_area=0.0))[0]
    assert item["valid_objects"].tolist() == [True, False]
    assert ClipDataset([Constant(labels)], ClipSettings(1, 40, 2))[0]["valid_objects"].tolist() == [False, False]


@pytest.mark.parametrize("area", [-0.1, 1.0])
def test_a_least_area_is_a_share_of_the_frame(area):
    with pytest.raises(ConfigError, match=f"min_object_area is {area}"):
        ClipSettings(min_object_area=area)


def test_without_objects_the_target_is_empty_after_the_retries():
    source = Constant(boxes())
    item = ClipDataset([source], ClipSettings(1, 40, 2, (0.85, 0.9)))[0]
    assert source.asked == RETRIES
    assert not item["valid_objects"].any()
    assert not item["first_masks"].any()


def test_only_present_objects_are_perturbed():
    item = ClipDataset([Constant(boxes(1))], ClipSettings(1, 40, 2, (0.85, 0.9)))[0]
    assert not torch.equal(item["first_masks"][0], (item["masks"][0] == 1).float())
    assert not item["first_masks"][1].any()
    assert set(item["first_masks"].unique().tolist()) <= {0.0, 1.0}


def test_weights_decide_the_sources():
    first, second = Constant(boxes(1)), Constant(boxes(1))
    dataset = ClipDataset([first, second], ClipSettings(1, 40), weights=[3, 1], length=400)
    for number in range(400):
        dataset[number]
    # Binomial(400, 0.75): standard deviation 8.7, five of them.
    assert abs(first.asked - 300) < 44
    assert first.asked + second.asked == 400


def test_weight_zero_is_never_used():
    unused = Constant(boxes(1))
    dataset = ClipDataset([unused, Constant(boxes(1))], ClipSettings(1, 40), weights=[0, 1])
    for number in range(20):
        dataset[number]
    assert unused.asked == 0


def test_index_beyond_the_length():
    dataset = ClipDataset([MovingShapes()], ClipSettings(1, 16), length=3)
    assert len(dataset) == 3
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], []])
def test_bad_weights(weights):
    with pytest.raises(ConfigError, match="weights"):
        ClipDataset([MovingShapes(), MovingShapes()], ClipSettings(), weights=weights)


def test_no_source():
    with pytest.raises(ConfigError, match="0 clip sources"):
        ClipDataset([], ClipSettings())


@pytest.mark.parametrize("name", ["num_frames", "crop_size", "max_objects"])
def test_settings_below_one(name):
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        ClipSettings(**{name: 0})


def test_a_side_below_one():
    with pytest.raises(ConfigError, match=r"crop_size is \(48, 0\)"):
        ClipSettings(crop_size=(48, 0))


@pytest.mark.parametrize("overlaps", [(0, 1), (0.9, 0.8), (0.5, 1.1), (-1, 0.5)])
def test_bad_perturbation_range(overlaps):
    with pytest.raises(ConfigError, match="perturb_first_mask"):
        ClipSettings(perturb_first_mask=overlaps)


def test_collate_stacks():
    dataset = ClipDataset([MovingShapes()], ClipSettings(2, 24, 2))
    batch = collate_clips([dataset[0], dataset[1], dataset[2]])
    assert batch["images"].shape == (3, 2, 3, 24, 24)
    assert batch["masks"].shape == (3, 2, 24, 24)
    assert batch["valid_objects"].shape == (3, 2)
    assert batch["first_masks"].shape == (3, 2, 24, 24)
    assert batch["name"] == ["moving-shapes"] * 3


def test_collate_cuts_planes_that_are_empty_in_all_clips():
    dataset = ClipDataset([MovingShapes(1, 0), MovingShapes(2, 0)], ClipSettings(2, 64, 5), weights=[1, 1])
    items = [dataset[number] for number in range(12)]
    counts = [int(item["valid_objects"].sum()) for item in items]
    assert {1, 2} <= set(counts)
    one, two = counts.index(1), counts.index(2)
    assert collate_clips([items[one]])["first_masks"].shape == (1, 1, 64, 64)
    both = collate_clips([items[one], items[two]])
    assert both["valid_objects"].tolist() == [[True, False], [True, True]]
    assert both["first_masks"].shape == (2, 2, 64, 64)
    torch.testing.assert_close(
        both["first_masks"], torch.stack([items[one]["first_masks"][:2], items[two]["first_masks"][:2]])
    )


def test_a_clip_without_objects_keeps_one_plane():
    item = ClipDataset([MovingShapes()], ClipSettings(2, 24, 3))[0]
    item["valid_objects"][:] = False
    assert collate_clips([item])["first_masks"].shape == (1, 1, 24, 24)
