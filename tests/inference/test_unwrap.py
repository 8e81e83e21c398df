"""What people hand over as a model: names, wrappers, other precisions, and things that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vos_zoo import VideoSession, load_model, segment_video
from vos_zoo.errors import ConfigError, UnknownModelError, UsageError
from vos_zoo.models.rde import RDEModule

FRAME = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
MASK = np.zeros((40, 56), np.uint8)
MASK[10:30, 10:30] = 1


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return RDEModule("tiny").eval()


def masks(model):
    session = VideoSession(model, size=None)
    return [session.step(FRAME, MASK).mask, session.step(FRAME[:, ::-1]).mask]


class Wrapper(nn.Module):
    """As Fabric's: the original under the name ``module``."""

    def __init__(self, module):
        super().__init__()
        self.module = module


WRAPPERS = {
    "network": lambda module: module.network,
    "DataParallel": nn.DataParallel,
    "DataParallel of the network": lambda module: nn.DataParallel(module.network),
    "compiled": torch.compile,
    "compiled network": lambda module: torch.compile(module.network),
    "two wrappers": lambda module: torch.compile(Wrapper(module)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_change_nothing(module, wrap):
    expected, found = masks(module), masks(wrap(module))
    assert all((ours == theirs).all() for ours, theirs in zip(found, expected, strict=True))


def test_a_distributed_model_is_unwrapped(module, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(module.network)
        assert (masks(wrapped)[1] == masks(module)[1]).all()
    finally:
        torch.distributed.destroy_process_group()


def test_compiling_from_outside_is_told_to_be_useless(module, caplog):
    VideoSession(torch.compile(module))
    assert "VideoSession(compile=True)" in caplog.text


def test_a_name_is_enough(tiny_model):
    assert (masks(str(tiny_model))[1] == masks(load_model(tiny_model, device="cpu"))[1]).all()
    session = VideoSession("rde", device="cpu", size=32)
    assert session.step(FRAME, MASK).object_ids == (1,)
    with pytest.raises(UnknownModelError, match="Did you mean 'rde'"):
        VideoSession("rdee")


NO_MODELS = {
    "class": (RDEModule, "The class RDEModule"),
    "None": (None, "A NoneType"),
    "number": (3, "A int"),
    "layer": (nn.Linear(1, 1), "A Linear"),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_other_things_are_no_models(case, small_clip, tmp_path):
    thing, name = NO_MODELS[case]
    with pytest.raises(UsageError, match=rf"^{name}.* is not a model of this package"):
        VideoSession(thing)
    with pytest.raises(UsageError, match=rf"^{name}.* is not a model of this package"):
        segment_video(small_clip.frames, small_clip.first, out=tmp_path / "out", model=thing)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("part", ["module", "network"])
def test_weights_of_another_precision_are_refused(dtype, part):
    module = RDEModule("tiny").to(dtype)
    with pytest.raises(ConfigError, match=rf"is {dtype}.*model\.float\(\).*precision='bf16'"):
        VideoSession(module if part == "module" else module.network)


def test_weights_without_values_are_refused():
    with torch.device("meta"):
        module = RDEModule("tiny")
    with pytest.raises(ConfigError, match="has no values"):
        VideoSession(module)


@pytest.mark.parametrize("argument", [FRAME, torch.zeros(1, 3, 32, 32), None])
@pytest.mark.parametrize("part", ["module", "network"])
def test_calling_a_model_says_what_to_call(module, part, argument):
    called = module if part == "module" else module.network
    with pytest.raises(UsageError, match=r"segment_video\(.*session\.step\("):
        called(argument)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("rde", dtype) for dtype in (torch.float64, torch.bfloat16, torch.float16)),
        *(("stcn", torch.float64), ("tsn", torch.bfloat16), ("giel", torch.float16)),
        *(("hs2s", torch.float64), ("dmn_aoa", torch.bfloat16)),
    ],
)
def test_the_default_type_of_torch_does_not_matter(name, dtype):
    expected = load_model(name, device="cpu")
    torch.set_default_dtype(dtype)
    try:
        found = load_model(name, device="cpu")
        assert torch.get_default_dtype() == dtype
        session = VideoSession(found, size=64)
        session.step(FRAME, MASK)
        result = session.step(FRAME)
    finally:
        torch.set_default_dtype(torch.float32)
    for key, tensor in found.network.state_dict().items():
        assert tensor.dtype == expected.network.state_dict()[key].dtype
    assert result.probabilities.dtype == torch.float32
    session = VideoSession(expected, size=64)
    session.step(FRAME, MASK)
    assert torch.equal(session.step(FRAME).probabilities, result.probabilities)


def test_the_default_device_of_torch_does_not_matter():
    with torch.device("meta"):
        session = VideoSession("rde", device="cpu", size=64)
        session.step(FRAME, MASK)
        found = session.step(FRAME)
    session = VideoSession("rde", device="cpu", size=64)
    session.step(FRAME, MASK)
    assert torch.equal(session.step(FRAME).probabilities, found.probabilities)


def test_weights_loaded_in_inference_mode_can_be_trained(tiny_model):
    with torch.inference_mode():
        model = load_model(tiny_model, device="cpu")
    assert not any(weight.is_inference() for weight in model.parameters())
