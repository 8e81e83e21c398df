from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from testing.memory_reads import has_clear_choice, random_read, read_by_loops
from testing.triton_programs import needs_triton
from vos_zoo.memory import MemoryTokens, choose_backend, read_memory

FLOAT_TYPES = ("float32", "float16", "bfloat16")


@pytest.mark.slow
@needs_triton
def test_kernels_under_the_interpreter() -> None:
    folder = Path(__file__).parent
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            # Triton 3.4 draws this warning of numpy's itself.
            *("-W", "ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
            str(folder / "interpreted_triton.py"),
        ],
        cwd=folder.parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3000,  # it hangs, however busy the machine is
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOAT_TYPES)
@pytest.mark.parametrize("read_keys", [False, True])
@pytest.mark.parametrize(
    ("queries", "tokens", "width", "columns", "top_k", "batch"),
    [
        (100, 2000, 64, 512, 20, 2),
        (37, 40, 5, 3, 20, 2),
        (1, 33, 1, 1, 32, 1),
        (200, 30000, 128, 100, 50, 1),
        (50, 140000, 64, 64, 120, 1),
    ],
)
def test_read_on_a_gpu_equals_the_loops(
    queries: int, tokens: int, width: int, columns: int, top_k: int, batch: int, dtype: str, read_keys: bool
) -> None:
    kind = getattr(torch, dtype)
    query, memory = random_read(
        queries=queries, tokens=tokens, width=width, columns=columns, batch=batch, dtype=kind, seed=2
    )
    on_device = to_cuda(memory)
    assert choose_backend(query.cuda(), on_device, top_k).name == "triton"
    readout = read_memory(query.cuda().mT.unsqueeze(2), on_device, top_k=top_k, read_keys=read_keys)
    clear = has_clear_choice(query, memory, top_k, margin=1e-3)
    tolerance = 1e-3 if kind == torch.float32 else 5e-2
    expected, expected_keys = read_by_loops(query, memory, top_k)
    torch.testing.assert_close(
        readout.values.cpu().flatten(2).mT[clear].double(), expected[clear], rtol=0, atol=tolerance
    )
    assert (readout.keys is not None) == read_keys
    if readout.keys is not None:
        read = readout.keys.cpu().flatten(2).mT[clear].double()
        torch.testing.assert_close(read, expected_keys[clear], rtol=0, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOAT_TYPES)
@pytest.mark.parametrize("kind", ["l2", "dot"])
def test_ties_on_a_gpu_go_to_the_lower_index(kind: str, dtype: str) -> None:
    query, memory = random_read(queries=60, tokens=700, width=3, dtype=getattr(torch, dtype), kind=kind, has_ties=True)
    bias = None if memory.bias is None else memory.bias.repeat(1, 3)
    values = torch.randn(1, 2100, 6).to(memory.values.dtype)
    memory = MemoryTokens(memory.keys.repeat(1, 3, 1), bias, values, memory.scale)
    read = read_memory(query.cuda().mT.unsqueeze(2), to_cuda(memory), top_k=20, backend="triton").values
    expected = read_by_loops(query, memory, 20)[0]
    torch.testing.assert_close(read.cpu().flatten(2).mT.double(), expected, rtol=0, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["cpu", "sdpa", "triton"])
@pytest.mark.parametrize("dtype", FLOAT_TYPES)
def test_training_read_on_a_gpu_has_the_gradients_of_the_formula(backend: str, dtype: str) -> None:
    query, memory = random_read(queries=64, tokens=320, width=64, columns=256, batch=2, dtype=getattr(torch, dtype))
    grads = []
    for name, device in ((backend, "cuda"), ("reference", "cpu")):
        leaves = [part.to(device) for part in (query, memory.keys, memory.bias, memory.values) if part is not None]
        if name == "reference":
            leaves = [leaf.double() for leaf in leaves]
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        tokens = MemoryTokens(leaves[1], leaves[2], leaves[3], memory.scale)
        read_memory(leaves[0].mT.unsqueeze(2), tokens, backend=name).values.double().square().sum().backward()
        grads.append([leaf.grad.cpu().double() for leaf in leaves if leaf.grad is not None])
    tolerance = 1e-3 if dtype == "float32" else 5e-2
    for grad, expected in zip(*grads, strict=True):
        torch.testing.assert_close(grad, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.gpu
def test_read_on_a_gpu_writes_no_affinity() -> None:
    query, memory = random_read(queries=1620, tokens=32400, width=64, columns=512, dtype=torch.bfloat16)
    on_device, query_map = to_cuda(memory), query.cuda().mT.unsqueeze(2)
    read_memory(query_map, on_device, top_k=20)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    read_memory(query_map, on_device, top_k=20)
    assert torch.cuda.max_memory_allocated() - before < 32 * 2**20  # the affinity alone is 100 MiB


def to_cuda(memory: MemoryTokens) -> MemoryTokens:
    bias = None if memory.bias is None else memory.bias.cuda()
    return MemoryTokens(memory.keys.cuda(), bias, memory.values.cuda(), memory.scale)
