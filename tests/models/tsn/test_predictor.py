"""TSN's kernel predictor against PyTorch's attention."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from vos_zoo.models.tsn import TSNConfig
from vos_zoo.models.tsn.heads import Heads
from vos_zoo.models.tsn.instance import InstanceStream
from vos_zoo.models.tsn.predictor import KernelPredictor, TokenAttention


@torch.no_grad()
@pytest.mark.parametrize("is_masked", [False, True])
def test_attention_equals_pytorchs(is_masked):
    torch.manual_seed(0)
    ours = TokenAttention(16, 4, 0.0).eval()
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    projections = (ours.query, ours.key, ours.value)
    for part in projections:
        part.bias.normal_()
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in projections]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in projections]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    embedding, keys, tokens = torch.randn(3, 16), torch.randn(3, 20, 16), torch.randn(3, 20, 16)
    usable = torch.rand(3, 20) > 0.3 if is_masked else None
    expected, _ = theirs(embedding.unsqueeze(1), keys, tokens, None if usable is None else ~usable)
    torch.testing.assert_close(ours(embedding, keys, tokens, usable), expected.squeeze(1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("predictor", ["attention", "gap"])
def test_one_head_from_several_frames_sees_the_present_ones(predictor):
    torch.manual_seed(0)
    config = dataclasses.replace(TSNConfig.tiny(), head_memory="pooled", predictor=predictor)
    stream = InstanceStream(config).eval()
    values = torch.randn(1, 3, 12, 2, config.value_dim)
    valid = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]])
    origins = torch.rand(1, 3, 2, 2) * 64
    pooled = stream.pool(Heads(torch.empty(1, 3, 2, 0), origins, valid), values, (3, 4))
    assert pooled.valid.tolist() == [[[1, 0]]]
    assert pooled.parameters.isfinite().all()
    torch.testing.assert_close(pooled.origins[0, 0, 0], origins[0, [0, 2], 0].mean(0))
    seen = values[:, [0, 2]]
    alone = stream.pool(Heads(torch.empty(1, 2, 2, 0), origins[:, [0, 2]], valid[:, [0, 2]]), seen, (3, 4))
    torch.testing.assert_close(pooled.parameters[:, :, 0], alone.parameters[:, :, 0])


def test_a_predictor_starts_from_one_embedding():
    predictor = KernelPredictor(TSNConfig.tiny())
    assert predictor.embedding.shape == (16,)
    assert predictor(torch.randn(3, 5, 16)).shape == (3, 16)
