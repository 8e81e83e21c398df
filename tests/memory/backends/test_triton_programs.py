from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from testing.triton_programs import compile_program, needs_triton, recorded_compilations, stack_bytes
from vos_zoo.errors import is_out_of_memory
from vos_zoo.memory import MemoryTokens, available_backends
from vos_zoo.memory.backends import native, triton_kernel, triton_softmax

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FRAME = 1620  # tokens at 480p
# Triton 3.9 announces a new default by a warning on the first compilation, whoever compiles.
pytestmark = [needs_triton, pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")]


_CACHES = (
    triton_kernel._warm_up, triton_kernel._probe, triton_kernel._tuned_group_maxima, triton_softmax._tuned
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    yield
    for function in _CACHES:
        function.cache_clear()


def frames(count: int, capacity: int, width: int = 64, columns: int = 512, objects: int = 1) -> MemoryTokens:
    """Return a view of the first frames of a bank, as it grows; its numbers are never read here."""
    rows = slice(count * FRAME)
    parts = (torch.empty(1, capacity * FRAME, size) for size in (width, columns * objects))
    keys, values = (part[:, rows] for part in parts)
    return MemoryTokens(keys, torch.empty(1, capacity * FRAME)[:, rows], values, 0.25)


@pytest.mark.parametrize(("top_k", "step"), [(20, 1), (50, 27)])
def test_a_growing_memory_compiles_nothing_after_its_first_frame(top_k: int, step: int) -> None:
    query = torch.empty(1, FRAME, 64)
    capacity = 4
    with recorded_compilations() as compiled:
        for count in range(1, 1001, step):
            while capacity < count:
                capacity *= 2
            # Values as narrow as can be: 1,000 frames of whole ones would take 3 GB of address space at a time.
            memory = frames(count, capacity, columns=16)
            assert triton_kernel.refusal(query, memory, top_k) == "the tensors are on cpu"
            triton_kernel.read_triton(query, memory, top_k, read_keys=False)
            if count == 1:
                first = list(compiled)
    assert compiled == first
    # The tiles to choose from, one of them for two more sizes of groups, the selection among all tokens twice and among
    # groups thrice, and narrowing.
    assert 9 <= len(first) <= 12, first


def test_a_growing_memory_without_top_k_compiles_nothing_after_its_first_frame() -> None:
    query = torch.empty(1, FRAME, 64)
    with recorded_compilations() as compiled:
        for count in range(1, 200):
            triton_softmax.read_triton_softmax(query, frames(count, count + count % 3, columns=16), read_keys=False)
            if count == 1:
                first = list(compiled)
    assert compiled == first


def test_a_long_memory_is_not_refused() -> None:
    with FakeTensorMode():
        keys = torch.empty(1, 5000 * FRAME, 64, device="cuda", dtype=torch.bfloat16)
        assert triton_kernel.refusal(keys, MemoryTokens(keys, None, keys, 1.0), 20) is None
        keys = torch.empty(1, 2**30, 64, device="cuda", dtype=torch.bfloat16)
        refusal = triton_kernel.refusal(keys, MemoryTokens(keys, None, keys, 1.0), 20)
    assert refusal is not None
    assert "tokens" in refusal


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """List names of programs and the device that is current when they are launched, device 0 outside of all guards."""
    from vos_zoo.memory.backends import triton_programs, triton_softmax_programs

    current, launched = [0], []

    def exchange(device: int) -> int:
        before = current[0]
        if device >= 0:
            current[0] = device
        return before if device >= 0 else -1

    monkeypatch.setattr(torch.cuda, "_exchange_device", exchange)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", exchange)
    monkeypatch.setattr(triton_kernel, "architecture", lambda device: 90)

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: Any) -> Any:
            return lambda *args, **constants: launched.append((self.name, current[0]))

    for module, names in (
        (triton_programs, ("group_maxima", "narrow_groups", "read_best", "read_best_of_groups", "weighted_rows")),
        (triton_softmax_programs, ("read_all", "grad_of_table", "grad_of_keys", "grad_of_query")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, Recorder(name))
    monkeypatch.setattr(triton_kernel, "_tuned_group_maxima", lambda *_: triton_programs.group_maxima)
    monkeypatch.setattr(triton_softmax, "_tuned", lambda name, *_: getattr(triton_softmax_programs, name))
    return launched


def test_programs_run_on_the_device_of_the_tensors(launches: list[tuple[str, int]]) -> None:
    with FakeTensorMode():
        query = torch.empty(1, FRAME, 64, device="cuda:1")
        memory = MemoryTokens(query, None, query, 1.0)
        triton_kernel.read_triton(query, memory, 20, read_keys=True)
    assert {name for name, _ in launches} == {
        *("group_maxima", "narrow_groups", "read_best", "read_best_of_groups", "weighted_rows"),
    }
    assert {device for _, device in launches} == {1}


def test_programs_of_all_tokens_run_on_the_device_of_the_tensors(launches: list[tuple[str, int]]) -> None:
    context: Any = SimpleNamespace(needs_input_grad=(True, True, False, True, False))
    context.save_for_backward = lambda *parts: setattr(context, "saved_tensors", parts)
    with FakeTensorMode():
        query = torch.empty(1, FRAME, 64, device="cuda:1")
        read = triton_softmax._AllTokensRead.forward(context, query, query, None, query, 1.0)
        triton_softmax._AllTokensRead.backward(context, read)
    assert [name for name, _ in launches] == ["read_all", "grad_of_table", "grad_of_keys", "grad_of_query"]
    assert {device for _, device in launches} == {1}


@pytest.mark.parametrize("message", ["CUDA out of memory.", "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"])
def test_a_device_without_memory_is_probed_again(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Exception | None] = [RuntimeError(message), RuntimeError(message), None]
    probed: list[torch.device] = []

    def read(query: torch.Tensor, *_: object) -> None:
        probed.append(query.device)
        if outcome := outcomes.pop(0) if outcomes else None:
            raise outcome

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(triton_kernel, "_read", read)
    native.unavailable_reason()  # which tries itself on numbers, of which there are none in a moment
    with FakeTensorMode():
        with pytest.raises(RuntimeError, match=message[:8]) as failure:
            triton_kernel.unavailable_reason()
        assert is_out_of_memory(failure.value)
        status = {backend.name: backend for backend in available_backends()}["triton"]
        assert not status.is_available
        assert "memory" in status.reason
        assert triton_kernel.unavailable_reason() is None
        assert triton_kernel.unavailable_reason(torch.device("cuda", 0)) is None
        assert len(probed) == 3
        outcomes.append(RuntimeError("PTX was compiled with an unsupported toolchain"))
        for _ in range(2):  # each device has an answer of its own, which is remembered
            assert "unsupported toolchain" in str(triton_kernel.unavailable_reason(torch.device("cuda", 1)))
        assert triton_kernel.unavailable_reason(torch.device("cuda", 0)) is None
    assert [device.index for device in probed] == [0, 0, 0, 1]


ALIGNED = ("query_row", "keys_row", "table_row", "maxima_row", "scores_row", "places_row", "narrowed_row", "columns")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "kind"), [(80, "bf16"), (80, "fp32"), (86, "fp32"), (90, "fp32"), (120, "fp16"), (120, "fp32")]
)
def test_tiles_of_the_first_step_stay_in_registers(architecture: int, kind: str) -> None:
    from vos_zoo.memory.backends import triton_programs

    for group, tile in itertools.product((1, 8, 16), triton_kernel.tiles(TYPES[kind], architecture)):
        program = compile_program(
            architecture,
            triton_programs.group_maxima,
            {"query": kind, "keys": kind, "bias": "fp32", "maxima": "fp32"},
            {
                "WIDTH": 128, "CHANNELS": tile.channels, "HAS_BIAS": True, "GROUP": group, "PRECISION": "tf32x3",
                "ROWS": tile.rows, "TOKENS": tile.tokens,
            },
            aligned=ALIGNED, warps=tile.warps, stages=2,
        )  # fmt: skip
        check_binary(program, architecture)
        assert stack_bytes(program) == 0, (group, tile)


OF_TABLE = {"table": "bf16", "out": "bf16", "tokens": "i32", "weights": "fp32"}


def summing(top_k: int, columns: int = 512) -> dict[str, int]:
    padded = triton_kernel.power_of_two(top_k)
    return {"TOP_K": top_k, "PADDED_K": padded, "COLUMNS": triton_kernel._columns_at_a_time(columns, padded)}


@pytest.mark.parametrize("architecture", [80, 90, 120])
@pytest.mark.parametrize(("top_k", "group"), [(20, 8), (20, 16), (124, 16)])
def test_selection_among_groups_stays_in_registers(architecture: int, top_k: int, group: int) -> None:
    from vos_zoo.memory.backends import triton_programs

    pointers = OF_TABLE | dict.fromkeys(("query", "keys", "bias", "maxima"), "fp32")
    pointers |= dict.fromkeys(("places", "chosen"), "i32")
    program = compile_program(
        architecture,
        triton_programs.read_best_of_groups,
        pointers,
        {
            "WIDTH": 64, "CHANNELS": 8, "HAS_BIAS": True, "GROUP": group, "K": top_k + 4,
            "PADDED_GROUPS": triton_kernel.power_of_two(top_k + 4), "PADDED_ENTRIES": 4096, "HAS_PLACES": group == 16,
            **summing(top_k),
        },
        aligned=ALIGNED, warps=8,
    )  # fmt: skip
    check_binary(program, architecture)
    assert stack_bytes(program) == 0


@pytest.mark.parametrize("architecture", [80, 90, 120])
@pytest.mark.parametrize(("top_k", "entries"), [(20, 2048), (40, 8192), (124, 8192)])
def test_selection_among_all_tokens_stays_in_registers(architecture: int, top_k: int, entries: int) -> None:
    from vos_zoo.memory.backends import triton_programs

    program = compile_program(
        architecture,
        triton_programs.read_best,
        OF_TABLE | {"scores": "fp32"},
        {"PADDED_ENTRIES": entries, **summing(top_k)},
        aligned=ALIGNED,
        warps=8,
    )
    check_binary(program, architecture)
    assert stack_bytes(program) == 0


@pytest.mark.parametrize(("architecture", "kind"), [(80, "bf16"), (90, "fp16")])
def test_other_steps_compile_ahead_of_time(architecture: int, kind: str) -> None:
    from vos_zoo.memory.backends import triton_programs

    narrow = compile_program(
        architecture,
        triton_programs.narrow_groups,
        {"maxima": "fp32", "places": "i32", "narrowed": "i32"},
        {"K": 24, "PART": 4096, "HAS_PLACES": False},
        aligned=ALIGNED,
        warps=8,
    )
    rows = compile_program(
        architecture, triton_programs.weighted_rows, OF_TABLE | {"table": kind, "out": kind}, summing(20),
        aligned=ALIGNED,
    )  # fmt: skip
    for program in (narrow, rows):
        check_binary(program, architecture)
        assert stack_bytes(program) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "kind"), [(80, "bf16"), (80, "fp32"), (90, "fp32"), (90, "fp16")])
@pytest.mark.parametrize("name", ["read_all", "grad_of_table", "grad_of_keys", "grad_of_query"])
def test_tiles_of_all_tokens_stay_in_registers(name: str, architecture: int, kind: str) -> None:
    from vos_zoo.memory.backends import triton_softmax_programs

    program = getattr(triton_softmax_programs, name)
    kinds = dict.fromkeys(["query", "keys", "table", "out", "grad_read", "grad_table", "grad_keys", "grad_query"], kind)
    kinds |= dict.fromkeys(["bias", "log_sum_exp", "mean", "grad_bias"], "fp32")
    pointers = {argument: kinds[argument] for argument in program.arg_names if argument in kinds}
    constants = {"WIDTH": 128, "PADDED_WIDTH": 128, "HAS_BIAS": True, "PRECISION": "tf32x3", "COLUMNS": 64}
    for rows, tokens, warps in triton_softmax.tiles(name, TYPES[kind]):
        compiled = compile_program(
            architecture, program, pointers, {**constants, "ROWS": rows, "TOKENS": tokens}, aligned=ALIGNED,
            warps=warps, stages=2,
        )  # fmt: skip
        check_binary(compiled, architecture)
        assert stack_bytes(compiled) <= 8, (rows, tokens, warps)  # two registers


def check_binary(program: Any, architecture: int) -> None:
    assert program.asm["cubin"]
    assert f".target sm_{architecture}" in program.asm["ptx"]
