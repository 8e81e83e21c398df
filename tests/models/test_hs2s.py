"""HS2S: the shared battery."""

import torch

from testing.model_tester import ModelTester


class TestHS2S(ModelTester):
    name = "hs2s"
    paper_parameters = 395_759_593
    small_parameters = 15_000_000

    def new_network(self):
        # Masks are fed back through the whole network, so that untrained weights amplify rounding from frame to frame.
        # Smaller logits leave the battery's tolerances their meaning.
        network = super().new_network()
        with torch.no_grad():
            network.decoder.predict.weight.mul_(0.1)
        return network

    def new_module(self, **options):
        # The battery's training tests are about frozen batch statistics, which HS2S has from a late epoch on.
        return super().new_module(freeze_bn_epoch=0, **options)
