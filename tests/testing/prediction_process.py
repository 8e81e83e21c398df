"""One of two processes that share out the videos of a data root and predict them on one and the same device.

It is given the root, the folder for masks and the kind of device, and has the variables of a machine of two.
"""

from __future__ import annotations

import sys
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy

from vos_zoo.data.modules.prediction import PredictionDataModule
from vos_zoo.models.stcn import STCNModule
from vos_zoo.training import PredictionWriter


def main() -> None:
    root, out, accelerator = sys.argv[1:]
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    module = STCNModule("tiny", evaluation_size=None)
    # As two machines with a device each, which here is the same one; NCCL would refuse that.
    trainer = pl.Trainer(
        accelerator=accelerator, devices=1, num_nodes=2, strategy=DDPStrategy(process_group_backend="gloo"),
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[PredictionWriter(out)], default_root_dir=out + "-root",
    )  # fmt: skip
    assert trainer.world_size == 2
    trainer.predict(module, PredictionDataModule(root), return_predictions=False)


if __name__ == "__main__":
    main()
