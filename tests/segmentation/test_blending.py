"""Two passes are blended object by object; what is kept meanwhile is small and exact to 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.inference.result import FrameResult
from vos_zoo.segmentation.blending import Blender, KeptPass, blend
from vos_zoo.segmentation.inputs import open_inputs

SIZE = (6, 8)
WEIGHTS = st.floats(0, 1)


def soft(ids, seed):
    """Probabilities of background and objects, which sum to 1."""
    return torch.rand((1 + len(ids), *SIZE), generator=torch.Generator().manual_seed(seed)).softmax(0)


@given(
    st.lists(st.integers(1, 5), unique=True),
    st.lists(st.integers(1, 5), unique=True),
    st.lists(WEIGHTS, min_size=5, max_size=5),
    st.integers(0, 99),
)
def test_blends_follow_the_formula_and_sum_to_1(ahead, back, weights, seed):
    forward, backward = soft(ahead, seed), soft(back, seed + 100)
    by_id = dict(enumerate(weights, start=1))
    ids, mixed = blend((tuple(ahead), forward), (tuple(back), backward[1:]), by_id)
    assert ids == (*ahead, *(one for one in back if one not in ahead))
    assert torch.allclose(mixed.sum(0), torch.ones(SIZE), atol=1e-5)
    assert (mixed >= 0).all()
    expected = np.zeros((len(ids), *SIZE))
    for place, object_id in enumerate(ids):
        one = forward[1 + ahead.index(object_id)].double().numpy() if object_id in ahead else None
        other = backward[1 + back.index(object_id)].double().numpy() if object_id in back else None
        weight = by_id[object_id]
        expected[place] = one if other is None else other if one is None else weight * one + (1 - weight) * other
    expected /= np.maximum(1, expected.sum(0))
    np.testing.assert_allclose(mixed[1:].numpy(), expected, atol=1e-5)


def test_the_same_on_both_ways_stays_the_same():
    probabilities = soft([1, 2], 0)
    ids, mixed = blend(((1, 2), probabilities), ((2, 1), probabilities[[2, 1]]), {1: 0.3, 2: 0.9})
    assert ids == (1, 2)
    torch.testing.assert_close(mixed, probabilities)


def result(ids, seed=0, name="00003", kind=np.uint8):
    return FrameResult(3, np.zeros((12, 16), kind), tuple(ids), soft(ids, seed), name)


@given(st.lists(st.integers(1, 70_000), unique=True, max_size=4), st.integers(0, 99))
def test_what_is_kept_comes_back(tmp_path_factory, ids, seed):
    kept = KeptPass(tmp_path_factory.mktemp("kept") / "pass")
    given_result = result(ids, seed)
    assert "00003" not in kept
    kept.write(given_result)
    assert "00003" in kept
    found, planes = kept.read("00003")
    assert found == tuple(ids)
    assert torch.allclose(planes, given_result.probabilities[1:], atol=0.5 / 255 + 1e-6)
    assert kept.mask("00003", (12, 16)).shape == (12, 16)
    kept.remove()
    assert not kept.folder.exists()
    kept.remove()


def test_what_is_sure_is_exact_and_small(tmp_path):
    planes = torch.zeros(3, 480, 864)
    planes[0], planes[1, 100:300, 200:400] = 1, 1
    planes[0, 100:300, 200:400] = 0
    kept = KeptPass(tmp_path)
    kept.write(FrameResult(0, np.zeros((480, 864), np.uint8), (1, 2), planes, "00000"))
    assert torch.equal(kept.read("00000")[1], planes[1:])
    assert (tmp_path / "00000.pass").stat().st_size < 10_000  # 810 KiB unpacked


def blender(tmp_path, masks, absent=None):
    frames = np.zeros((11, 12, 16, 3), np.uint8)
    inputs = open_inputs(
        frames, masks, start=None, end=None, every=1, levels=None, resize_mask=False, void="auto", absent=absent
    )
    return Blender.between(KeptPass(tmp_path / "kept"), inputs.annotations, inputs.reader.names)


def mask(*ids):
    made = np.zeros((12, 16), np.uint8)
    for number, object_id in enumerate(ids):
        made[:, 2 * number] = object_id
    return made


def test_weights_move_between_the_annotations_of_each_object(tmp_path):
    made = blender(tmp_path, {0: mask(1, 2), 4: mask(1), 10: mask(1, 2)}, absent={8: 2})
    weights = [made.forward_weight(1, f"{number:05d}") for number in range(11)]
    assert weights == pytest.approx([0.5, 3 / 4, 2 / 4, 1 / 4, 0.5, *(1 - number / 6 for number in range(1, 6)), 0.5])
    weights = [made.forward_weight(2, f"{number:05d}") for number in range(11)]
    assert weights == pytest.approx([0.5, *(1 - number / 8 for number in range(1, 8)), 0.5, 0.5, 0.5])


def test_what_was_given_stays_as_given(tmp_path):
    made = blender(tmp_path, {0: mask(1, 2), 3: mask(1), 10: mask(1)}, {3: 2})
    made.annotations.get("00003")[:, 5] = 1
    made.kept.write(result([2, 1], seed=5))
    blended = made.blend(result([1, 2], seed=7))
    given_mask = made.annotations.get("00003")
    assert (blended.mask[given_mask != 0] == given_mask[given_mask != 0]).all()
    assert not (blended.mask[given_mask == 0] != 0).any()  # both objects are settled: given, or absent
    assert (blended.index, blended.name, blended.object_ids) == (3, "00003", (1, 2))
