"""What training on several devices asks of a training step, checked in one process."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.data import SyntheticDataModule
from vos_zoo.registry import ARCHITECTURES

# HS2S balances its losses over all pixels of a batch (paper and released code), so that they depend on its composition.
OVER_THE_BATCH = {"hs2s"}
# GIEL's label encoder trains batch normalisation (`--trainer.sync_batchnorm true` shares it between GPUs), and DMN-AOA
# draws the noise of its training proposals for the batch.
TOLERANCE = {"giel": 1e-2, "dmn_aoa": 1e-2}
NAMES = sorted(ARCHITECTURES)


def new_module(name):
    torch.manual_seed(0)
    module = ARCHITECTURES[name].load_class("module")("tiny")
    module.train()
    module.log = lambda *_values, **_options: None
    return module


@pytest.fixture(scope="module")
def batch():
    """Two clips, the second with one object less than the first."""
    data = SyntheticDataModule(batch_size=2, crop_size=48, num_frames=5, samples_per_epoch=2, num_workers=0)
    data.setup("fit")
    (made,) = data.train_dataloader()
    made["valid_objects"][:] = torch.tensor([[True, True], [True, False]])
    made["masks"][1][made["masks"][1] == 2] = 0
    made["first_masks"][1, 1] = 0
    return made


def clip(batch, index):
    return {key: value[index : index + 1] for key, value in batch.items()}


def loss_of(name, clips):
    module = new_module(name)
    torch.manual_seed(1)
    return module.training_step(clips, 0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OVER_THE_BATCH])
def test_the_loss_of_a_batch_is_the_mean_over_its_clips(name, batch):
    whole = loss_of(name, batch)
    parts = [loss_of(name, clip(batch, index)) for index in range(2)]
    torch.testing.assert_close(whole, torch.stack(parts).mean(), rtol=TOLERANCE.get(name, 1e-5), atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_parameter_gets_a_gradient(name, batch):
    module = new_module(name)
    module.training_step(batch, 0).backward()
    without = [path for path, part in module.network.named_parameters() if part.requires_grad and part.grad is None]
    # DistributedDataParallel waits for the gradient of each of them.
    assert without == []
