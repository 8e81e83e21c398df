"""Mask refinement: blocks against their formula, and references that are moved onto the frame."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.models.dmn_aoa.config import DMNAOAConfig
from vos_zoo.models.dmn_aoa.features import DMNFeatures
from vos_zoo.models.dmn_aoa.refinement import MaskRefinement, RefineBlock

HEIGHT, WIDTH = 48, 64


def new_refinement(**changes):
    torch.manual_seed(0)
    config = dataclasses.replace(DMNAOAConfig.tiny(), **changes)
    return MaskRefinement(config).double().eval()


def new_features(seed, clips=1):
    generator = torch.Generator().manual_seed(seed)
    sizes = [
        (width, HEIGHT // stride, WIDTH // stride)
        for width, stride in zip(DMNAOAConfig.tiny().widths, (4, 8, 16), strict=True)
    ]
    levels = [torch.randn(clips, *size, generator=generator, dtype=torch.float64) for size in sizes]
    return DMNFeatures(torch.zeros(clips, 3, HEIGHT, WIDTH), *levels)


def new_masks(seed, objects=2, clips=1):
    return torch.rand(clips, objects, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)).double()


def refine(network, frame, coarse, first, first_masks, previous, previous_masks):
    return network(
        frame, network.query(frame), coarse, network.remember(first), first_masks, network.remember(previous),
        previous_masks,
    )  # fmt: skip


@pytest.mark.parametrize("is_coarsest", [True, False])
def test_a_block_is_its_formula_for_every_object(is_coarsest):
    torch.manual_seed(0)
    block = RefineBlock(6, 8, 4, is_coarsest=is_coarsest).double()
    shared, masks = torch.randn(2, 18, 6, 8).double(), torch.rand(6, 3, 6, 8).double()
    coarser = None if is_coarsest else torch.randn(6, 8, 3, 4).double()
    found = block(shared, masks, coarser)

    def residual(part, features):
        inner = part.norm1(F.conv2d(features.relu(), part.conv1.weight, part.conv1.bias, padding=1))
        return features + part.norm2(F.conv2d(inner.relu(), part.conv2.weight, part.conv2.bias, padding=1))

    for row in range(6):
        inputs = torch.cat([shared[row // 3], masks[row]])[None]
        expected = residual(
            block.skip_block, block.norm(F.conv2d(inputs, block.conv.weight, block.conv.bias, padding=1))
        )
        if coarser is not None:
            larger = F.interpolate(coarser[row][None], size=(6, 8), mode="bilinear", align_corners=False)
            expected = residual(block.out_block, expected + larger)
        torch.testing.assert_close(found[row][None], expected)


@torch.no_grad()
def test_a_reference_like_the_frame_stays_where_it_is():
    """Every cell of a frame is most like itself, so that a sharp alignment moves nothing."""
    aligned = new_refinement(alpha=1e5)
    plain = new_refinement(align_reference=False)
    plain.load_state_dict({key: tensor for key, tensor in aligned.state_dict().items() if "projector" not in key})
    frame, masks = new_features(1), [new_masks(seed) for seed in (2, 3, 4)]
    found, expected = (
        refine(network, frame, masks[0], frame, masks[1], frame, masks[2]) for network in (aligned, plain)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_moved_reference_is_moved_back():
    """Cells of the reference in another order are put in the frame's order, with their masks at every level."""
    network, frame, masks = new_refinement(alpha=1e5), new_features(1), new_masks(2)
    # A 1x1 projection: a cell's key does not depend on its neighbours.
    for projector in (network.current_projector, network.reference_projector):
        for layer in (projector[0], projector[3]):
            layer.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))

    def shuffle(level):
        side = level.shape[2] // 3  # of one of the 3x4 cells
        cells = level.unfold(2, side, side).unfold(3, side, side).flatten(2, 3)[:, :, order]
        return cells.unflatten(2, (3, 4)).permute(0, 1, 2, 4, 3, 5).reshape(level.shape)

    moved = DMNFeatures(frame.image, *(shuffle(level) for level in frame.levels))
    coarse = new_masks(3)
    expected = refine(network, frame, coarse, frame, masks, frame, masks)
    found = refine(network, frame, coarse, moved, shuffle(masks), frame, masks)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(refine(network, frame, coarse, moved, masks, frame, masks), expected, atol=1e-2)


@torch.no_grad()
def test_objects_and_clips_do_not_see_one_another():
    network, frames = new_refinement(), [new_features(seed, clips=2) for seed in (1, 2, 3)]
    coarse, first_masks, previous_masks = (new_masks(seed, objects=3, clips=2) for seed in (4, 5, 6))
    together = refine(network, frames[0], coarse, frames[1], first_masks, frames[2], previous_masks)
    assert together.shape == (2, 3, HEIGHT, WIDTH)
    for clip in range(2):
        frame, first, previous = (DMNFeatures(*(part[clip : clip + 1] for part in each)) for each in frames)
        for plane in range(3):
            own = [part[clip : clip + 1, plane : plane + 1] for part in (coarse, first_masks, previous_masks)]
            alone = refine(network, frame, own[0], first, own[1], previous, own[2])
            torch.testing.assert_close(alone[0, 0], together[clip, plane])


@torch.no_grad()
def test_the_result_is_the_log_odds_of_two_channels():
    network, frame, masks = new_refinement(), new_features(1), new_masks(2)
    channels = []
    network.predict.register_forward_hook(lambda _, __, output: channels.append(output))
    found = refine(network, frame, masks, frame, masks, frame, masks)
    larger = F.interpolate(channels[0], size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[0].sigmoid(), larger.softmax(dim=1)[:, 1])
