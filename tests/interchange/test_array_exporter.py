from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from testing.results import moving_masks, write_results
from vos_zoo.interchange.export_masks import export_masks
from vos_zoo.interchange.probabilities import ProbabilityWriter
from vos_zoo.media.masks import write_mask


@settings(max_examples=20, deadline=None)
@given(
    masks=hnp.arrays(
        np.int32,
        st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
        elements=st.sampled_from([0, 1, 2, 255, 256, 65535]),
    )
)
def test_any_masks_come_back(tmp_path_factory, masks):
    folder = tmp_path_factory.mktemp("any")
    for number, mask in enumerate(masks):
        write_mask(folder / "masks" / f"f{number}.png", mask)
    export_masks(folder / "masks", to="npz", out=folder / "a.npz", void=None)
    with np.load(folder / "a.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["masks"], masks)
        assert found["masks"].dtype == (np.uint8 if masks.max() < 256 else np.uint16)
        assert found["objects"].tolist() == sorted({int(i) for i in np.unique(masks)} - {0})
        assert found["frames"].tolist() == [f"f{number}" for number in range(len(masks))]
        assert found["indices"].tolist() == list(range(len(masks)))


def test_names_and_labels(results, tmp_path):
    export_masks(results, to="npz", out=tmp_path / "a.npz", labels={2: "bird"})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert set(found.files) == {"masks", "frames", "indices", "objects", "labels"}
        assert found["labels"].tolist() == ["object 1", "bird"]


@pytest.mark.parametrize("objects", [None, [2]])
def test_probabilities_come_in_the_order_of_objects(tmp_path, objects):
    masks = moving_masks(3)
    folder = write_results(tmp_path / "masks", masks, "clip.mp4")
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 120, (3, 2, 48, 64), dtype=np.uint8)
    for number, planes in enumerate(levels):
        ProbabilityWriter(folder).write(f"{number:05d}", zip([2, 1], planes / 255, strict=True))
    export_masks(folder, to="npz", out=tmp_path / "a.npz", soft=True, objects=objects)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["probabilities"], levels[:, :1] if objects else levels[:, ::-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "masks"]
