from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vos_zoo import VideoSession
from vos_zoo.errors import ConfigError
from vos_zoo.inference.arithmetic import _warn_once, arithmetic, check_precision, store_weights
from vos_zoo.models.stcn import STCNConfig, STCNNetwork

CPU = torch.device("cpu")
HAS_NEW_SETTINGS = hasattr(torch.backends.cudnn, "conv")


def settings() -> tuple[Any, ...]:
    """Whether convolutions and products of float32 may be rounded, and whether cuDNN tries its programs."""
    if HAS_NEW_SETTINGS:
        rounding = (
            torch.backends.cudnn.conv.fp32_precision == "tf32",
            (torch.backends.cuda.matmul.fp32_precision == "tf32"),
        )
    else:
        rounding = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    return *rounding, torch.backends.cudnn.benchmark


@pytest.fixture(params=[False, True])
def foreign_settings(request: pytest.FixtureRequest) -> Any:
    """What PyTorch has by itself, or what a program around may have set."""
    if request.param and HAS_NEW_SETTINGS:
        before = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        yield
        torch.backends.cuda.matmul.fp32_precision = before
    else:
        yield


@pytest.mark.parametrize(("precision", "rounds"), [("fp32", False), ("tf32", True), ("bf16", False), ("fp16", False)])
@pytest.mark.usefixtures("foreign_settings")
def test_a_session_sets_what_float32_means_and_puts_it_back(precision: Any, rounds: bool) -> None:
    torch.manual_seed(0)
    network, seen = STCNNetwork(STCNConfig.tiny()), []
    network.key_encoder.register_forward_pre_hook(lambda *_: seen.append(settings()))
    before = settings()
    session = VideoSession(network, size=None, precision=precision, optimize=False)
    mask = np.zeros((32, 32), np.int32)
    mask[8:24, 8:24] = 1
    session.step(np.zeros((32, 32, 3), np.uint8), mask)
    assert seen == [(rounds, False, True)]
    assert settings() == before


def test_settings_come_back_after_an_error() -> None:
    before = settings()

    def fail() -> None:
        with arithmetic("tf32", CPU):
            assert settings() == (True, False, True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert settings() == before


def test_unknown_precisions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'fp8'.*tf32"):
        check_precision("fp8")


@pytest.mark.parametrize(("precision", "is_said"), [("fp32", False), ("bf16", True), ("fp16", True)])
def test_a_processor_that_emulates_a_precision_is_told_of_once(
    precision: Any, is_said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vos_zoo.inference.arithmetic.computes_in", lambda *_: False)
    _warn_once.cache_clear()
    for _ in range(2):
        VideoSession(STCNNetwork(STCNConfig.tiny()), size=None, precision=precision)
    said = [record.getMessage() for record in caplog.records if "by itself" in record.getMessage()]
    assert len(said) == is_said
    assert all(f"cpu does not compute in {precision}" in text and "'auto'" in text for text in said)


class Casts(TorchDispatchMode):
    """Counts what is cast to another type and is no smaller than a weight may be."""

    def __init__(self, weights: set[tuple[int, ...]]) -> None:
        super().__init__()
        self.weights, self.count = weights, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if str(func).startswith(("aten._to_copy", "aten.to.")) and tuple(args[0].shape) in self.weights:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("is_stored", [False, True])
def test_no_weight_is_cast_for_a_frame(is_stored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_stored:
        monkeypatch.setattr("vos_zoo.inference.arithmetic.store_weights", lambda *_: None)
    session = VideoSession(STCNNetwork(STCNConfig.tiny()), size=None, precision="bf16")
    mask = np.zeros((32, 48), np.int32)
    mask[8:24, 8:24] = 1
    session.step(np.zeros((32, 48, 3), np.uint8), mask)
    layers = [part for part in session._network.modules() if isinstance(part, nn.Conv2d)]
    with Casts({tuple(layer.weight.shape) for layer in layers}) as casts:
        session.step(np.zeros((32, 48, 3), np.uint8))
    assert (casts.count == 0) == is_stored


def test_shared_weights_stay_shared_and_float32_parts_as_they_are() -> None:
    class Exact(nn.Linear):
        computes_float32 = True

    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), Exact(2, 2), nn.LayerNorm(2))
    network[1].weight = network[0].weight
    store_weights(network, torch.bfloat16)
    assert network[0].weight is network[1].weight
    assert [part.weight.dtype for part in network] == [torch.bfloat16] * 2 + [torch.float32] * 2
