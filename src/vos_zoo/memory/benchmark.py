"""Time and check the memory read against the usual implementation and against what the machine can do at best.

The scripts under ``benchmarks/`` and the command ``vos-zoo benchmark`` measure through these functions, so that their
numbers mean the same.
"""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.memory.backends.choice import choose_backend
from vos_zoo.memory.backends.reference import read_reference
from vos_zoo.memory.bank import MemoryBank
from vos_zoo.memory.read import read_memory
from vos_zoo.memory.tokens import MemoryTokens, similarity_terms

_GPU_REPEATS = 20  # reads between two synchronisations, so that waiting for the GPU does not count
_CHECKED_QUERIES = 60  # compared with float64; the float64 affinity of all queries would take gigabytes
_LARGEST_KEPT = 2**25 - 2**16  # bytes; a freed block of 32 MiB or more always goes back to the system


@dataclass(frozen=True)
class ReadCase:
    """One size of memory read.

    Attributes:
        frames: Memory frames.
        objects: Objects that share them.
        grid: Height and width of the feature grid, 30 × 54 at 480p.
        key_dim: Channels of keys.
        value_dim: Channels of each object's values.
        top_k: Tokens that share the weight of a query; None means all.
    """

    frames: int
    objects: int = 1
    grid: tuple[int, int] = (30, 54)
    key_dim: int = 64
    value_dim: int = 512
    top_k: int | None = 20

    @property
    def queries(self) -> int:
        """Positions of the feature grid."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """Positions of the memory."""
        return self.frames * self.queries


@dataclass(frozen=True)
class MachineRates:
    """What the machine does at best, measured in the same run.

    Attributes:
        matrix: Float operations per second of a large square matrix product.
        thin_matrix: The same of products as thin as the similarity, in tiles that stay in the caches.
        convolution: The same of the similarity as a 1×1 convolution.
        copy: Bytes read and written per second when copying a large tensor.
    """

    matrix: float
    thin_matrix: float
    convolution: float
    copy: float

    def floor(self, case: ReadCase, itemsize: int) -> float:
        """Seconds below which the read cannot get: similarities at the best rate, plus reading and writing once."""
        operations = 2 * case.queries * case.tokens * case.key_dim
        width = case.objects * case.value_dim
        rows = case.queries * (case.tokens if case.top_k is None else min(case.top_k, case.tokens))
        numbers = case.tokens * case.key_dim + case.queries * (case.key_dim + width)
        if case.top_k is None:
            operations += 2 * rows * width
            numbers += case.tokens * width
        else:
            numbers += rows * width
        return operations / max(self.matrix, self.thin_matrix, self.convolution) + numbers * itemsize / self.copy


@dataclass(frozen=True)
class ReadTiming:
    """Result for one case.

    Attributes:
        case: What was read.
        backend: Implementation that the automatic choice took.
        seconds: Median over the rounds.
        best_seconds: Fastest round.
        textbook_seconds: Median of the usual implementation, timed in turns with ours; None if it was left out.
        textbook_best_seconds: Its fastest round.
        floor_seconds: See :meth:`MachineRates.floor`.
        error: Largest difference to float64 among queries whose choice of tokens no rounding can change.
    """

    case: ReadCase
    backend: str
    seconds: float
    best_seconds: float
    textbook_seconds: float | None
    textbook_best_seconds: float | None
    floor_seconds: float
    error: float

    @property
    def speed_up(self) -> float | None:
        """How many times faster than the usual implementation, by medians."""
        return None if self.textbook_seconds is None else self.textbook_seconds / self.seconds

    @property
    def share_of_floor(self) -> float:
        """Part of the time that nothing could save, 0 to 1, by medians."""
        return self.floor_seconds / self.seconds


def read_textbook(query: Tensor, keys: Tensor, values: Tensor, top_k: int | None) -> Tensor:
    """Read as papers' code commonly does: write the affinity, sort it, scatter the weights, multiply.

    Args:
        query: Query keys, shape (Ck, M).
        keys: Memory keys, shape (Ck, N).
        values: Memory values, shape (D, N).
        top_k: Tokens that share the weight of a query; None means all.

    Returns:
        Values, shape (D, M).
    """
    squares = keys.square().sum(0).unsqueeze(1)
    affinity = (2 * (keys.T @ query) - squares) / math.sqrt(keys.shape[0])
    if top_k is None or top_k >= keys.shape[1]:
        return values @ affinity.softmax(0)
    best, places = affinity.topk(top_k, dim=0)
    weights = torch.zeros_like(affinity).scatter_(0, places, best.softmax(0))
    return values @ weights


def make_read(case: ReadCase, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> ReadInputs:
    """Fill a memory bank with random numbers, in place, so that making it leaves no free memory behind."""
    generator = torch.Generator(device).manual_seed(case.frames)
    query = torch.empty(1, case.key_dim, *case.grid, device=device, dtype=dtype)
    bank, nothing = MemoryBank(max_frames=case.frames, num_objects=case.objects), query.new_zeros(1, 1, 1)
    for frame in range(case.frames):
        keys = nothing.expand(1, case.queries, case.key_dim)
        bank.write(keys, nothing.expand(1, case.queries, case.objects * case.value_dim), frame=frame)
    stored = bank.tokens()
    for part in (query, stored.keys, stored.values):
        part.normal_(generator=generator)
    scale, bias = similarity_terms(stored.keys)
    return ReadInputs(query, MemoryTokens(stored.keys, bias, stored.values, scale))


@dataclass(frozen=True)
class ReadInputs:
    """A query key map (1, Ck, h, w) and the memory it reads."""

    query_key: Tensor
    memory: MemoryTokens

    def textbook_layout(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return query (Ck, M), keys (Ck, N) and values (D, N), contiguous as papers' code holds them."""
        keys, values = self.memory.keys[0].T.contiguous(), self.memory.values[0].T.contiguous()
        return self.query_key[0].flatten(1), keys, values


@torch.inference_mode()
def measure_reads(
    cases: Sequence[ReadCase],
    rates: MachineRates,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    rounds: int = 7,
    with_textbook: bool = True,
) -> list[ReadTiming]:
    """Time all cases, ours and the usual implementation, in turns, and compare ours with float64.

    Args:
        cases: What to read.
        rates: The machine's rates, for the floor.
        device: Where.
        dtype: Type of queries, keys and values.
        rounds: Times that each read is timed.
        with_textbook: Whether the usual implementation is timed too; it takes gigabytes for long memories.

    Returns:
        One result per case.
    """
    _teach_allocator()
    inputs = [make_read(case, device=device, dtype=dtype) for case in cases]
    contenders: list[Callable[[], object]] = [
        partial(read_memory, part.query_key, part.memory, top_k=case.top_k)
        for case, part in zip(cases, inputs, strict=True)
    ]
    if with_textbook:
        layouts = [part.textbook_layout() for part in inputs]
        contenders += [partial(read_textbook, *layout, case.top_k) for case, layout in zip(cases, layouts, strict=True)]
    times = time_in_turns(contenders, rounds=rounds, device=device)
    return [
        ReadTiming(
            case=case,
            backend=choose_backend(part.query_key, part.memory, case.top_k).name,
            seconds=statistics.median(times[index]),
            best_seconds=min(times[index]),
            textbook_seconds=statistics.median(times[index + len(cases)]) if with_textbook else None,
            textbook_best_seconds=min(times[index + len(cases)]) if with_textbook else None,
            floor_seconds=rates.floor(case, part.query_key.element_size()),
            error=_error(part, case),
        )
        for index, (case, part) in enumerate(zip(cases, inputs, strict=True))
    ]


def time_in_turns(
    contenders: Sequence[Callable[[], object]],
    *,
    rounds: int,
    device: str | torch.device = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Return the seconds of every round of each contender; all of them take their turn within a round."""
    is_cuda = torch.device(device).type == "cuda"
    repeats = _GPU_REPEATS if is_cuda else 1
    times: list[list[float]] = [[] for _ in contenders]
    for round_number in range(rounds + 1):
        for contender, seconds in zip(contenders, times, strict=True):
            if is_cuda:
                torch.cuda.synchronize()
            start = clock()
            for _ in range(repeats):
                contender()
            if is_cuda:
                torch.cuda.synchronize()
            if round_number:  # the first round warms up
                seconds.append((clock() - start) / repeats)
    return times


@torch.inference_mode()
def measure_rates(
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    key_dim: int = 64,
    rounds: int = 5,
    side: int | None = None,
) -> MachineRates:
    """Measure the machine's own rates, best of the rounds; ``side`` is that of the square matrices."""
    is_cuda = torch.device(device).type == "cuda"
    side = side or (8192 if is_cuda else 2048)
    square, product = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    # On a CPU the thin product runs in tiles that stay in the caches, as a fast read would; a GPU wants one large one.
    rows, columns, tiles = (8192, 32768, 1) if is_cuda else (192, 2048, 16)
    query = torch.ones(rows, key_dim, device=device, dtype=dtype)
    keys = torch.ones(columns, key_dim, device=device, dtype=dtype)
    out = torch.empty(rows, columns, device=device, dtype=dtype)
    image = query.view(1, 1, rows, key_dim).permute(0, 3, 1, 2)
    kernels = keys.view(columns, key_dim, 1, 1)
    source, target = (torch.ones(2**28 if is_cuda else 2**24, device=device) for _ in range(2))

    def thin() -> None:
        for _ in range(tiles):
            torch.mm(query, keys.T, out=out)

    def convolve() -> None:
        for _ in range(tiles):
            F.conv2d(image, kernels)

    best = [
        min(seconds)
        for seconds in time_in_turns(
            [lambda: torch.mm(square, square, out=product), thin, convolve, lambda: target.copy_(source)],
            rounds=rounds,
            device=device,
        )
    ]
    thin_operations = 2 * tiles * rows * columns * key_dim
    return MachineRates(
        matrix=2 * side**3 / best[0],
        thin_matrix=thin_operations / best[1],
        convolution=thin_operations / best[2],
        copy=2 * source.numel() * source.element_size() / best[3],
    )


def describe_machine(device: str | torch.device = "cpu") -> str:
    """Name processor, threads, GPU and torch version."""
    processor = platform.processor() or platform.machine()
    details = Path("/proc/cpuinfo")
    if details.exists():
        names = [line.split(":", 1)[1].strip() for line in details.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    parts = [f"{processor}, {torch.get_num_threads()} threads", f"torch {torch.__version__}"]
    if torch.device(device).type == "cuda":
        parts.insert(0, torch.cuda.get_device_name(device))
    return "; ".join(parts)


def _teach_allocator() -> None:
    """Free a large block, as any session does with its feature maps.

    Linux's C library keeps free memory up to twice the largest block that was freed before, and gives the rest back to
    the system. A process that did nothing but read would get fresh pages in every read of some runs, which takes as
    long as a small read, and never in others.
    """
    torch.empty(_LARGEST_KEPT, dtype=torch.uint8)


def _error(inputs: ReadInputs, case: ReadCase) -> float:
    """Compare some queries with float64, leaving out those whose k-th and next similarity nearly tie."""
    memory = inputs.memory
    step = max(1, case.queries // _CHECKED_QUERIES)
    query = inputs.query_key.flatten(2)[:, :, ::step].mT
    exact = MemoryTokens(
        memory.keys.double(), similarity_terms(memory.keys.double())[1], memory.values.double(), memory.scale
    )
    expected, _ = read_reference(query.double(), exact, case.top_k)
    read = read_memory(inputs.query_key, memory, top_k=case.top_k).values.flatten(2)[:, :, ::step].mT
    difference = (read.double() - expected).abs().amax(2)
    if case.top_k is not None and case.top_k < case.tokens:
        assert exact.bias is not None
        similarity = exact.scale * query.double() @ exact.keys.mT + exact.bias.unsqueeze(1)
        best = similarity.topk(case.top_k + 1).values
        clear = best[..., -2] - best[..., -1] > 1e-4 * best.abs().amax(2)
        difference = difference[clear]
    return float(difference.max()) if difference.numel() else 0.0
