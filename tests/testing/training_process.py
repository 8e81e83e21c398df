"""Training in processes of their own, which may be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import warnings
from pathlib import Path
from typing import Any

# Children are forked from a server that has loaded the heavy libraries once and has not computed anything.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["vos_zoo.data.modules.synthetic", "vos_zoo.training.module", "timm", "torchvision", "albumentations", __name__]
)


def start_training(folder: Path, processes: int, **options: Any) -> list[multiprocessing.process.BaseProcess]:
    """Start data-parallel training on the CPU, one process per device; options are those of ``_train``."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    started = []
    for rank in range(processes):
        child = CONTEXT.Process(target=_train, args=(folder, rank, processes, port), kwargs=options)
        child.start()
        started.append(child)
    return started


def _train(
    folder: Path,
    rank: int,
    processes: int,
    port: int,
    *,
    model: str,
    seed: int,
    start: Path | None = None,
    killed_at: int | None = None,
    keep: bool = False,
) -> None:
    """Train six iterations in epochs of three; the first process leaves its weights as ``weights.pt``.

    Args:
        folder: For what is written.
        rank: Number of this process.
        processes: Number of processes.
        port: Where they meet.
        model: Registry name.
        seed: Seed of the process.
        start: Checkpoint to resume.
        killed_at: Iteration within which the process is killed.
        keep: Whether every iteration leaves ``step=N.ckpt``.
    """
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint

    from vos_zoo.data import SyntheticDataModule
    from vos_zoo.registry import ARCHITECTURES

    class Kill(pl.Callback):
        def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
            if trainer.global_step == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # Lightning takes processes that have these as started from outside.
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0", GLOO_SOCKET_IFNAME="lo"
    )
    pl.seed_everything(seed, verbose=False)
    module = ARCHITECTURES[model].load_class("module")("tiny", learning_rate=1e-3, **_OPTIONS.get(model, {}))
    data = SyntheticDataModule(
        batch_size=1,
        crop_size=64 if model == "hs2s" else 32,  # batch statistics need more than one position at stride 32
        num_frames=5,
        samples_per_epoch=3 * processes,
        num_workers=0,
    )
    callbacks: list[pl.Callback] = [Kill()]
    if keep:
        callbacks.append(ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1))
    trainer = pl.Trainer(
        accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=keep, max_steps=6,
        num_sanity_val_steps=0, limit_val_batches=0, default_root_dir=str(folder), callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=None if start is None else str(start))
    if rank == 0:
        torch.save(module.network.state_dict(), folder / "weights.pt")


# So that an early iteration draws clip lengths and what is fed back at random, with batch statistics that are trained.
_OPTIONS: dict[str, dict[str, Any]] = {
    "hs2s": {
        "shortest_clip": 2,
        "clip_growth_epochs": 1,
        "feedback_start": 0,
        "feedback_slope": 0.5,
        "mask_dropout": 0.5,
    }
}
