"""Training that is stopped and goes on has the weights of training that was never stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from vos_zoo.data import GapCurriculum, SyntheticDataModule
from vos_zoo.errors import RunStoppedError
from vos_zoo.models.stcn import STCNModule
from vos_zoo.models.tsn.averaging import RampedWeightAveraging
from vos_zoo.training import SaveOnInterruption

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Found .* module\\(s\\) in eval mode"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
]

STEPS = 7  # of 3 in an epoch: the third epoch is begun


class Signals(pl.Callback):
    """Sends signals to this process while an iteration runs."""

    def __init__(self, step: int, *numbers: int) -> None:
        self.step = step
        self.numbers = numbers

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_step == self.step:
            # Several batches that are accumulated belong to one step.
            numbers, self.numbers = self.numbers, ()
            for number in numbers:
                os.kill(os.getpid(), number)


def fit(folder: Path, *callbacks: pl.Callback, start: Path | None = None, workers: int = 0, **options) -> STCNModule:
    pl.seed_everything(5, verbose=False)
    module = STCNModule("tiny", learning_rate=1e-3, final_decay=0.5, evaluation_size=None)
    data = SyntheticDataModule(
        batch_size=1, crop_size=32, samples_per_epoch=3, num_workers=workers, max_gap=3, validation_frames=3
    )
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_steps=STEPS,
        num_sanity_val_steps=0, limit_val_batches=1, default_root_dir=str(folder),
        callbacks=[GapCurriculum([2, 4, 3], [0.3, 0.8]), *callbacks], **options,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=start)
    return module


def difference(one: STCNModule, other: STCNModule) -> float:
    pairs = zip(one.network.parameters(), other.network.parameters(), strict=True)
    return max(float((first - second).detach().abs().max()) for first, second in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Training without interruption, and its checkpoints after every iteration."""
    folder = tmp_path_factory.mktemp("whole")
    keep = ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    return folder, fit(folder, keep)


@pytest.mark.parametrize("step", range(1, STEPS))
def test_training_goes_on_at_any_iteration(whole, tmp_path, step):
    folder, reference = whole
    resumed = fit(tmp_path, start=folder / f"step={step}.ckpt", enable_checkpointing=False)
    assert difference(resumed, reference) == 0


@pytest.mark.parametrize("step", [2, 4])
def test_clips_that_workers_prepare_ahead_are_the_same(whole, tmp_path, step):
    folder, reference = whole
    resumed = fit(tmp_path, start=folder / f"step={step}.ckpt", enable_checkpointing=False, workers=1)
    assert difference(resumed, reference) == 0


def test_training_goes_on_after_an_epoch(whole, tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1, every_n_epochs=1)
    fit(tmp_path, keep)
    for epoch in (0, 1):
        resumed = fit(tmp_path, start=tmp_path / f"epoch={epoch}.ckpt", enable_checkpointing=False)
        assert difference(resumed, whole[1]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(whole, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(RunStoppedError, match=r"stopped after 5 iterations\. Continue with `--ckpt_path ") as stopped:
        fit(tmp_path, SaveOnInterruption(), Signals(4, number), enable_checkpointing=False)
    assert stopped.value.signal_number == number
    assert signal.getsignal(number) is before
    (path,) = tmp_path.rglob("interrupted.ckpt")
    resumed = fit(tmp_path, start=path, enable_checkpointing=False)
    assert difference(resumed, whole[1]) == 0


def test_accumulated_gradients_are_not_lost(tmp_path):
    options = {"accumulate_grad_batches": 2, "enable_checkpointing": False}
    reference = fit(tmp_path, **options)
    with pytest.raises(RunStoppedError):
        fit(tmp_path, SaveOnInterruption(), Signals(2, signal.SIGTERM), **options)
    (path,) = tmp_path.rglob("interrupted.ckpt")
    assert difference(fit(tmp_path, start=path, **options), reference) == 0


def test_a_second_signal_stops_at_once(tmp_path):
    with pytest.raises(SystemExit):  # what Lightning makes of a KeyboardInterrupt
        fit(tmp_path, SaveOnInterruption(), Signals(3, signal.SIGINT, signal.SIGINT), enable_checkpointing=False)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_average_of_weights_goes_on(tmp_path):
    reference = fit(tmp_path, RampedWeightAveraging(0.9), enable_checkpointing=False)
    with pytest.raises(RunStoppedError):
        fit(
            tmp_path, RampedWeightAveraging(0.9), SaveOnInterruption(), Signals(3, signal.SIGTERM),
            enable_checkpointing=False,
        )  # fmt: skip
    (path,) = tmp_path.rglob("interrupted.ckpt")
    resumed = fit(tmp_path, RampedWeightAveraging(0.9), start=path, enable_checkpointing=False)
    assert difference(resumed, reference) == 0
