from __future__ import annotations

import numpy as np
from PIL import Image

from testing.results import expected_opacity, moving_masks, write_results
from testing.videos import clip, write_frames
from vos_zoo.interchange.export_masks import export_masks
from vos_zoo.interchange.probabilities import ProbabilityWriter


def load(path, mode):
    with Image.open(path) as image:
        assert image.mode == mode
        return np.array(image)


def results_with_probabilities(tmp_path, frames=3):
    """Results with probabilities that fall off around each object, and their exact 8-bit values."""
    masks = moving_masks(frames)
    folder = write_results(tmp_path / "masks", masks, write_frames(tmp_path / "frames", clip(frames)))
    levels = []
    for number, mask in enumerate(masks):
        planes = np.stack([np.where(mask == 1, 230, 7 * number), np.where(mask == 2, 200, 0)]).astype(np.uint8)
        ProbabilityWriter(folder).write(f"{number:05d}", zip([1, 2], planes / 255, strict=True))
        levels.append(planes)
    return folder, masks, levels


def test_binary_masks_are_exact(results, tmp_path, masks):
    export_masks(results, to="binary-png", out=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "2"]
    for number, mask in enumerate(masks):
        for object_id in (1, 2):
            found = load(tmp_path / "out" / str(object_id) / f"{number:05d}.png", "L")
            np.testing.assert_array_equal(found, 255 * (mask == object_id))


def test_soft_masks_are_the_probabilities_along_outlines(tmp_path):
    folder, masks, levels = results_with_probabilities(tmp_path)
    export_masks(folder, to="binary-png", out=tmp_path / "out", soft=True, objects=[2])
    for number, (mask, planes) in enumerate(zip(masks, levels, strict=True)):
        found = load(tmp_path / "out" / "2" / f"{number:05d}.png", "L")
        np.testing.assert_array_equal(found, expected_opacity(planes[1], mask == 2))


def test_cutouts_are_exact_and_hide_nothing(tmp_path):
    masks = moving_masks(4)
    folder = write_results(tmp_path / "masks", masks, write_frames(tmp_path / "frames", clip(4)))
    export_masks(folder, to="cutouts", out=tmp_path / "all")
    export_masks(folder, to="cutouts", out=tmp_path / "one", objects=[1])
    for number, (mask, picture) in enumerate(zip(masks, clip(4), strict=True)):
        for name, inside in (("all", mask > 0), ("one", mask == 1)):
            found = load(tmp_path / name / f"{number:05d}.png", "RGBA")
            np.testing.assert_array_equal(found[..., 3], 255 * inside)
            np.testing.assert_array_equal(found[inside][:, :3], picture[inside])
            assert not found[~inside].any()


def test_soft_cutouts(tmp_path):
    folder, masks, levels = results_with_probabilities(tmp_path)
    export_masks(folder, to="cutouts", out=tmp_path / "out", soft=True)
    for number, (mask, planes) in enumerate(zip(masks, levels, strict=True)):
        found = load(tmp_path / "out" / f"{number:05d}.png", "RGBA")
        total = planes.sum(axis=0, dtype=int).clip(max=255)
        np.testing.assert_array_equal(found[..., 3], expected_opacity(total, mask > 0))
        seen = found[..., 3] > 0
        np.testing.assert_array_equal(found[seen][:, :3], clip(3)[number][seen])
