from __future__ import annotations

import pytest
import torch

from vos_zoo.devices import computes_in, find_device
from vos_zoo.errors import ConfigError


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_first_that_is_there(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto").type == expected


def test_a_device_is_taken_as_it_is():
    assert find_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", "Device 'gpu' is unknown"),
        ("", "is unknown"),
        ("cuda:7", "'cuda:7' is not there.*sees 1 CUDA"),
        ("mps", "no Apple GPU"),
        ("meta", "'meta' is not supported"),
    ],
)
def test_devices_that_do_not_exist(monkeypatch, device, words):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=words):
        find_device(device)


def test_a_gpu_computes_in_half_precision_and_a_processor_if_torch_says_so():
    assert computes_in(torch.bfloat16, "cuda")
    assert computes_in(torch.bfloat16, "cpu") is torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert computes_in(torch.float16, "cpu") is torch.ops.mkldnn._is_mkldnn_fp16_supported()
