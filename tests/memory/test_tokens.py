from __future__ import annotations

import math

import pytest
import torch

from vos_zoo.errors import ConfigError, ShapeError
from vos_zoo.memory import similarity_terms, tokens_from_frames


def test_l2_terms_give_the_negative_squared_distance_up_to_a_constant_per_query() -> None:
    query, keys = torch.randn(5, 9, dtype=torch.float64), torch.randn(7, 9, dtype=torch.float64)
    scale, bias = similarity_terms(keys, "l2")
    expected = -torch.cdist(query, keys).square() / math.sqrt(9)
    difference = scale * query @ keys.T + bias - expected
    torch.testing.assert_close(difference, query.square().sum(1, keepdim=True).expand(5, 7) / 3)


def test_dot_terms_have_no_bias() -> None:
    assert similarity_terms(torch.zeros(3, 16), "dot") == (0.25, None)


@pytest.mark.parametrize("kind", ["l2", "dot"])
def test_scale_can_be_given(kind: str) -> None:
    assert similarity_terms(torch.zeros(3, 16), kind, scale=0.5)[0] == 0.5


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_bias_is_at_least_float32(dtype: torch.dtype, expected: torch.dtype) -> None:
    bias = similarity_terms(torch.full((2, 4), 300.0, dtype=dtype))[1]
    assert bias is not None
    assert bias.dtype == expected
    assert bias.isfinite().all()  # 300² is beyond float16


def test_unknown_measure_is_an_error() -> None:
    with pytest.raises(ConfigError, match="cosine"):
        similarity_terms(torch.zeros(3, 16), "cosine")


def test_tokens_run_through_frames_then_rows_then_columns() -> None:
    keys, values = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 2, 7, 5, 6)
    tokens = tokens_from_frames(keys, values)
    t, y, x = 2, 3, 1
    index = (t * 5 + y) * 6 + x
    assert tokens.count == 90
    assert torch.equal(tokens.keys[1, index], keys[1, t, :, y, x])
    assert torch.equal(tokens.values[1, index], values[1, t, :, :, y, x].flatten())


def test_tokens_of_maps_that_differ_are_an_error() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3, 4, 5, 6\).*\(2, 2, 1, 7, 5, 6\)"):
        tokens_from_frames(torch.zeros(2, 3, 4, 5, 6), torch.zeros(2, 2, 1, 7, 5, 6))
