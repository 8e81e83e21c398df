from __future__ import annotations

import sys

import pytest
import torch

from vos_zoo.memory.pages import HUGE_PAGE, Pages, zeros

CPU = torch.device("cpu")

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="huge pages are asked for under Linux")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("shape", [(2, 3, 5), (0, 4), (3, 700, 1000)])
def test_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    made = zeros(shape, dtype, CPU)
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert not made.any()
    made.add_(1)
    assert made.eq(1).all()


@only_linux
def test_large_tensors_start_at_a_huge_page() -> None:
    assert zeros((2, HUGE_PAGE), torch.float32, CPU).data_ptr() % HUGE_PAGE == 0


def test_other_devices_have_their_own_memory() -> None:
    assert zeros((2, HUGE_PAGE), torch.float32, torch.device("meta")).device.type == "meta"


@only_linux
def test_defaults_of_torch_do_not_matter() -> None:
    with torch.device("meta"):
        assert zeros((2, HUGE_PAGE), torch.float32, CPU).device == CPU


@only_linux
def test_pages_are_used_as_long_as_a_view_is() -> None:
    pages = Pages(1)
    assert pages.size == HUGE_PAGE
    assert not pages.is_used
    tensor = pages.tensor((10, 20), torch.float32)
    other = pages.tensor((10, 20), torch.float32)
    assert pages.is_used
    tensor.fill_(7)
    assert other.eq(7).all()
    view = tensor[3:].mT
    del tensor, other
    assert pages.is_used
    del view
    assert not pages.is_used


@only_linux
def test_memory_lives_as_long_as_its_tensor() -> None:
    tensor = Pages(100).tensor((5, 5), torch.float32).fill_(3)
    others = [Pages(100).tensor((5, 5), torch.float32) for _ in range(10)]
    assert tensor.eq(3).all()
    assert not any(other.any() for other in others)


@only_linux
def test_too_little_memory_is_told_as_pytorch_does() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="not enough memory"):
        zeros((2**26, 2**26), torch.uint8, CPU)
