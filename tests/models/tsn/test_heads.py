"""Generated heads against plain convolutions, and the kernel predictor against PyTorch's attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.models.tsn import TSNConfig
from vos_zoo.models.tsn.heads import HeadLayout, Heads, centroids, coordinate_maps, evaluate_heads, sine_code
from vos_zoo.models.tsn.instance import InstanceStream


def random_heads(layout: HeadLayout, valid: torch.Tensor) -> Heads:
    parameters = torch.randn(*valid.shape, layout.size, dtype=torch.float32) * 0.5
    return Heads(parameters, torch.rand(*valid.shape, 2) * 64, valid.float())


def one_at_a_time(heads: Heads, layout: HeadLayout, features: torch.Tensor, unit: torch.Tensor | None) -> torch.Tensor:
    """Equation 3 in float64, one plain convolution per layer, head, object and clip."""
    batch, frames, objects = heads.valid.shape
    result = torch.zeros(batch, objects, layout.out_channels, *features.shape[2:], dtype=torch.float64)
    weights, biases = layout.split(heads.parameters.double())
    for clip in range(batch):
        for plane in range(objects):
            seen = [time for time in range(frames) if heads.valid[clip, time, plane]]
            for time in seen:
                x = features[clip : clip + 1].double().clone()
                if unit is not None:
                    x[:, :2] -= (heads.origins[clip, time, plane] / unit).double()[:, None, None]
                for layer in range(layout.depth):
                    weight = weights[layer][clip, time, plane][..., None, None]
                    x = F.conv2d(x if layer == 0 else x.relu(), weight, biases[layer][clip, time, plane])
                result[clip, plane] += x[0] / len(seen)
    return result


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("is_relative", [False, True])
def test_heads_equal_plain_convolutions(depth, is_relative):
    torch.manual_seed(depth)
    layout = HeadLayout(in_channels=10, channels=8, out_channels=5, depth=depth)
    valid = torch.tensor([[[1, 0, 1], [0, 0, 1], [1, 0, 1]], [[1, 1, 1], [1, 1, 0], [0, 1, 0]]])
    heads, features = random_heads(layout, valid), torch.randn(2, 10, 3, 4)
    unit = torch.tensor([432.0, 300.0]) if is_relative else None
    ours = evaluate_heads(heads, layout, features, unit=unit)
    # Sums of ten to thirty products of order one in float32.
    torch.testing.assert_close(ours.double(), one_at_a_time(heads, layout, features, unit), atol=1e-5, rtol=1e-5)
    assert ours[0, 1].abs().max() == 0  # never present


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "depth", "size"), [(10, 8, 3, 232), (10, 1, 3, 169), (8, 8, 3, 216), (10, 8, 1, 88)]
)
def test_numbers_of_a_head(in_channels, out_channels, depth, size):
    assert HeadLayout(in_channels, 8, out_channels, depth).size == size


def test_an_invalid_frame_changes_nothing():
    layout = HeadLayout(10, 8, 8, 3)
    heads = random_heads(layout, torch.tensor([[[1.0], [0.0]]]))
    features, unit = torch.randn(1, 10, 3, 4), torch.tensor([432.0, 432.0])
    alone = Heads(*(part[:, :1] for part in heads))
    torch.testing.assert_close(
        evaluate_heads(heads, layout, features, unit=unit), evaluate_heads(alone, layout, features, unit=unit)
    )


@torch.no_grad()
def test_heads_move_with_their_object():
    config = TSNConfig.tiny()
    torch.manual_seed(0)
    stream = InstanceStream(config)
    thin = torch.randn(1, config.value_dim, 6, 8)
    heads = Heads(torch.randn(1, 1, 1, stream.num_parameters), torch.tensor([[[[40.0, 24.0]]]]), torch.ones(1, 1, 1))
    moved = Heads(heads.parameters, heads.origins + torch.tensor([32.0, 16.0]), heads.valid)
    still = stream._embed(thin, heads, (96, 128))
    shifted = stream._embed(thin.roll((1, 2), dims=(2, 3)), moved, (96, 128))
    torch.testing.assert_close(shifted[..., 1:, 2:], still[..., :-1, :-2], atol=1e-5, rtol=1e-5)


@given(st.integers(1, 6), st.integers(1, 6), st.data())
@settings(max_examples=30, deadline=None)
def test_centroids_are_mean_positions(height, width, data):
    pixels = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = torch.tensor(pixels).view(height, width)
    centre, area = centroids(mask[None, None])
    assert area.item() == sum(pixels)
    inside = mask.nonzero().double() + 0.5
    expected = inside.mean(dim=0).flip(0) if len(inside) else torch.zeros(2)
    torch.testing.assert_close(centre[0, 0].double(), expected.double(), atol=1e-5, rtol=0)


def test_coordinates_are_cell_centres():
    x, y = coordinate_maps((2, 3), 16, torch.device("cpu"))
    assert x.tolist() == [[8, 24, 40]] * 2
    assert y.tolist() == [[8] * 3, [24] * 3]


def test_sine_codes_differ_everywhere():
    code = sine_code((5, 7), 8, torch.device("cpu")).flatten(1)
    assert code.shape == (8, 35)
    assert (torch.cdist(code.T, code.T) + torch.eye(35) > 1e-3).all()
