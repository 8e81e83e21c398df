"""DMN-AOA: the shared battery."""

import torch

from testing.model_tester import ModelTester, probabilities


class TestDMNAOA(ModelTester):
    name = "dmn_aoa"
    paper_parameters = 27_821_506
    # <q, k + b> shifts all similarities of q by <q, b>, which the softmax takes out again.
    without_effect = frozenset({"memory_encoder.key.bias"})

    def test_bf16_is_close_to_fp32(self, network):
        exact, half = probabilities(network), probabilities(network, precision="bf16")
        # Alignment multiplies cosines by 100. Features rounded to bfloat16 move a cosine by about 2^-9, hence a weight
        # by a fifth, ten times more than the battery's bound has in mind.
        assert (exact - half).abs().max() < 0.2
        assert (exact - half).abs().mean() < 0.01
        assert not torch.equal(exact, half)

    def new_module(self, **options):
        # The battery's training tests move scale and shift of every normalisation; the paper freezes those too.
        return super().new_module(freeze_bn_affine=False, **options)
