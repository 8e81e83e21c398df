"""The memory read with top-k as machine code, for CPUs.

Its source, ``native.c``, is compiled the first time it is needed, within a second or two, by the C compiler of the
machine, and kept in the user's cache folder, if that is the user's alone. It runs on the threads of PyTorch: others
would compete with them, since idle ones wait actively. Where there is no compiler, or anything else is missing, PyTorch
operations read instead (:mod:`vos_zoo.memory.backends.cpu`).
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vos_zoo.cache import is_private, private_cache_folder
from vos_zoo.memory.backends import cpu
from vos_zoo.memory.backends.backend import BackendStatus, Read
from vos_zoo.memory.pages import HUGE_PAGE, Pages
from vos_zoo.memory.tokens import MemoryTokens
from vos_zoo.waiting import announced

_logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("native.c")

_FLAGS = ("-O3", "-fPIC", "-shared", "-Wno-psabi")
# What PyTorch found on this processor, and the instructions to compile for; others get those that all have.
_INSTRUCTIONS = {
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
}
_KEY_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_SECONDS_TO_COMPILE = 120
_MOST_KEPT = 16 * 2**20  # bytes of work space
_MOST_KEPT_OF_RESULTS = 32 * 2**20  # bytes
_UNFINISHED = ".compiling-"
_PROCESS = os.getpid()  # that has its threads


class NativeError(Exception):
    """Why there is no machine code here; never reaches users."""


class CompilerError(NativeError):
    """The compiler fails."""


_FAILURES = (NativeError, OSError, AttributeError)
"""What a compiler's result may fail with."""


class WorkSpace(threading.local):
    """Memory that one read leaves to the next of the same thread: fresh pages would take as long as a small read."""

    def __init__(self) -> None:
        self._kept = torch.empty(0, dtype=torch.uint8, device="cpu")
        self._kept_pages: list[Pages] = []  # of results, the oldest first

    def at_least(self, size: int) -> Tensor:
        """Return ``size`` bytes or more; up to 16 MiB stay in use."""
        if size <= len(self._kept):
            return self._kept
        space = torch.empty(size, dtype=torch.uint8, device="cpu")
        if size <= _MOST_KEPT:
            self._kept = space
        return space

    def result(self, rows: int, columns: int) -> Tensor:
        """Return room for a result, shape (rows, columns), float32, not filled.

        It lies where an earlier result lay that nobody holds any longer; up to 32 MiB stay in use.
        """
        size = 4 * rows * columns
        if size < HUGE_PAGE:
            return torch.empty(rows, columns, dtype=torch.float32, device="cpu")
        pages = next((kept for kept in self._kept_pages if kept.size >= size and not kept.is_used), None)
        if pages is None:
            pages = Pages(size)
            if pages.size <= _MOST_KEPT_OF_RESULTS:
                self._kept_pages.append(pages)
            while sum(kept.size for kept in self._kept_pages) > _MOST_KEPT_OF_RESULTS:
                del self._kept_pages[0]
        return pages.tensor((rows, columns), torch.float32)


@dataclass(frozen=True)
class NativeCode:
    """Compiled code, and what starts PyTorch's threads to run it."""

    functions: ctypes.CDLL
    run_on_threads: ctypes.c_void_p
    work_space: WorkSpace = field(default_factory=WorkSpace)

    def search(
        self, query: Tensor, keys: Tensor, bias: Tensor | None, top_k: int, threads: int
    ) -> tuple[Tensor, Tensor] | None:
        """Find the most similar tokens of each query.

        Args:
            query: Scaled queries, shape (M, Ck), float32.
            keys: Shape (N, Ck), float32, fewer than 2³¹ rows.
            bias: Shape (N,), float32, or None for zeros.
            top_k: At most N.
            threads: How many to use.

        Returns:
            Token indices in rising order, int64, and their similarities, both (M, k). Of equal tokens the first ones.
            None if any similarity is not a number.
        """
        query, keys = query.contiguous(), keys if keys.stride(1) == 1 else keys.contiguous()
        bias = None if bias is None else bias.contiguous()
        chosen = query.new_empty(len(query), top_k, dtype=torch.int64)
        similarity = query.new_empty(len(query), top_k)
        sizes = len(query), keys.stride(0), len(keys), query.shape[1], top_k
        queries, stride, tokens, width, k = map(ctypes.c_int64, sizes)
        count = ctypes.c_uint32(threads)
        space = self.work_space.at_least(self.functions.vos_zoo_select_tokens_space(queries, tokens, width, k, count))
        failed = self.functions.vos_zoo_select_tokens(
            *(_address(query), queries, _address(keys), stride, _address(bias), tokens, width, k),
            *(_address(chosen), _address(similarity), _address(space), self.run_on_threads, count),
        )
        return None if failed else (chosen, similarity)

    def sum_rows(self, table: Tensor, chosen: Tensor, weights: Tensor, threads: int) -> Tensor:
        """Sum rows of a table.

        Args:
            table: Shape (N, D), float32, contiguous along its rows.
            chosen: k rows per query, shape (M, k), int64.
            weights: Their weights, shape (M, k), float32.
            threads: How many to use.

        Returns:
            Shape (M, D).
        """
        chosen, weights = chosen.contiguous(), weights.contiguous()
        out = self.work_space.result(len(chosen), table.shape[1])
        sizes = len(table), table.stride(0), table.shape[1], *chosen.shape
        rows, stride, columns, queries, k = map(ctypes.c_int64, sizes)
        count = ctypes.c_uint32(threads)
        space = self.work_space.at_least(self.functions.vos_zoo_sum_rows_space(rows, queries, k, count))
        self.functions.vos_zoo_sum_rows(
            *(_address(table), rows, stride, columns, _address(chosen), _address(weights), queries, k),
            *(_address(out), _address(space), self.run_on_threads, count),
        )
        return out


def unavailable_reason() -> str | None:
    """Say why there is no machine code on this machine; None if there is. The first call may compile it."""
    found = _find_code()
    return found if isinstance(found, str) else None


def refusal(query: Tensor, memory: MemoryTokens) -> str | None:
    """Say why this read is not for the machine code; None if it is."""
    for part in (query, memory.keys, memory.values, memory.bias):
        if part is None:
            continue
        if part.device.type != "cpu":
            return f"a tensor is on {part.device.type}"
        if part.is_neg():
            return "a tensor is a view of others with the sign changed"
    for part in (query, memory.keys):
        if part.dtype not in _KEY_TYPES:
            return f"it compares keys of at most 32 bits, not {part.dtype}"
    if memory.bias is not None and memory.bias.dtype != torch.float32:
        return f"it adds float32 biases, not {memory.bias.dtype}"
    return None if memory.count < 2**31 else "the memory has more than 2³¹ tokens"


def select_tokens(query: Tensor, memory: MemoryTokens, entry: int, top_k: int) -> tuple[Tensor, Tensor]:
    """Find the k most similar tokens of each query and their softmax weights.

    Takes and returns what :func:`vos_zoo.memory.backends.cpu.select_tokens` does, for reads without :func:`refusal` on
    machines without :func:`unavailable_reason`.
    """
    bias = None if memory.bias is None else memory.bias[entry]
    keys = memory.keys[entry].float()  # exact; keys are a small part of a memory in half precision
    found = _code().search(memory.scale * query.float(), keys, bias, top_k, thread_count())
    if found is None:
        return cpu.select_tokens(query, memory, entry, top_k)
    return found[0], found[1].softmax(1)


def weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum k rows of a table per query; takes and returns what :func:`vos_zoo.memory.backends.cpu.weighted_rows` does.

    Args:
        table: Shape (N, D).
        rows: Indices, shape (M, k), int64.
        weights: Shape (M, k), float32.

    Returns:
        Shape (M, D), in the type of the table.
    """
    if table.dtype != torch.float32 or weights.dtype != torch.float32 or table.stride(1) != 1:
        return cpu.weighted_rows(table, rows, weights)
    return _code().sum_rows(table, rows, weights, thread_count())


def thread_count() -> int:
    """Return how many threads a read uses.

    One after a fork: the threads of the OpenMP runtime stay behind in the parent, and a child waits for them for ever.
    """
    return torch.get_num_threads() if os.getpid() == _PROCESS else 1


def _code() -> NativeCode:
    found = _find_code()
    assert isinstance(found, NativeCode)
    return found


@cache
def _find_code() -> NativeCode | str:
    try:
        with announced(_logger, "Compiling the memory read for this processor, once"):
            return find_code(cpu_flags())
    except (*_FAILURES, subprocess.SubprocessError) as error:
        return str(error)


def cpu_flags() -> tuple[str, ...]:
    """Return the compiler's names for the instructions of this processor."""
    return _INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())


def find_code(flags: tuple[str, ...]) -> NativeCode:
    """Load the source compiled with these flags, from the cache if it has it, and try it.

    Raises:
        NativeError: If something is missing, the compiler fails, or its result is wrong.
        OSError: If the compiler's result is not a library, or there is no room for it.
        AttributeError: If it is a library of something else.
        subprocess.SubprocessError: If the compiler takes too long.
    """
    if sys.platform != "linux":
        raise NativeError("it is for Linux so far")
    command = _compiler()
    name = f"{_digest(command, flags)}.so"
    folder = private_cache_folder("native")
    if folder is not None:
        _sweep(folder)
        if _is_whole(folder / name):
            with suppress(*_FAILURES):  # it is compiled again
                return load(folder / name)
        with suppress(CompilerError, OSError):  # a full disk, for instance; the folder of temporary files may have room
            return _make(command, flags, name, folder)
    return _make(command, flags, name, None)


def compile_source(command: Sequence[str], flags: tuple[str, ...], library: Path) -> None:
    """Compile the source.

    Args:
        command: Compiler, and arguments that come first.
        flags: Further arguments.
        library: File to write.

    Raises:
        CompilerError: If the compiler fails.
        OSError: If it writes nothing.
        subprocess.SubprocessError: If it takes too long.
    """
    call = [*command, *_FLAGS, *flags, str(SOURCE), "-o", str(library)]
    result = subprocess.run(call, capture_output=True, timeout=_SECONDS_TO_COMPILE)  # noqa: S603
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip()  # in the user's language and encoding
        raise CompilerError(f"`{shlex.join(call)}` failed: {said[:500]}")
    library.chmod(0o700)  # one that others may write to is not loaded


def _compiler() -> list[str]:
    named = os.environ.get("CC", "")
    try:
        command = shlex.split(named) or [shutil.which("cc") or shutil.which("gcc") or ""]
    except ValueError as error:
        raise NativeError(f"CC is `{named}`, which is not a command ({error})") from error
    if not shutil.which(command[0]):
        raise NativeError("there is no C compiler (`cc`, `gcc` or what CC names)")
    return command


def _digest(command: Sequence[str], flags: tuple[str, ...]) -> str:
    """Return a name for all that the compiled code depends on, the processor included: CC may say `-march=native`."""
    parts = [SOURCE.read_text(encoding="utf-8"), platform.machine(), _cpu_features(), *command, *_FLAGS, *flags]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]


def _cpu_features() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")  # of x86, and of ARM


def _make(command: Sequence[str], flags: tuple[str, ...], name: str, folder: Path | None) -> NativeCode:
    """Compile, load and try the source, and keep the result in a folder if one is given."""
    # In a folder of its own, because other processes may compile at the same time or load what is there.
    with tempfile.TemporaryDirectory(dir=folder, prefix=_UNFINISHED) as place:
        made = Path(place) / name
        compile_source(command, flags, made)
        code = load(made)
        if folder is not None:
            with suppress(OSError):  # then the next process compiles it again
                _keep(made, folder)
    return code


def _keep(library: Path, folder: Path) -> None:
    """Move a library into a folder so that it is there whole, or not at all, even if the machine fails."""
    with library.open("ab") as file:
        file.write(hashlib.sha256(library.read_bytes()).digest())
        file.flush()
        os.fsync(file.fileno())
    library.replace(folder / library.name)
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _is_whole(library: Path) -> bool:
    """Tell whether a file is this user's own and as :func:`_keep` left it: loading one that was cut is fatal."""
    if not is_private(library):
        return False
    try:
        content = library.read_bytes()
    except OSError:
        return False
    length = hashlib.sha256().digest_size
    return content[-length:] == hashlib.sha256(content[:-length]).digest()


def _sweep(folder: Path) -> None:
    """Remove what killed compilations left."""
    for place in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - place.stat().st_mtime > 2 * _SECONDS_TO_COMPILE:
                shutil.rmtree(place)


def load(library: Path) -> NativeCode:
    """Load a compiled library and try it.

    Raises:
        NativeError: If PyTorch has no threads for it, or it gives wrong results.
        OSError: If it is not a library.
        AttributeError: If it is a library of something else.
    """
    # Looked up through PyTorch's library, the function comes from the OpenMP runtime that PyTorch itself runs on, which
    # may be GNU's, LLVM's or Intel's; all of them offer GNU's interface.
    torch_library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        run_on_threads = ctypes.CDLL(str(torch_library)).GOMP_parallel
    except (OSError, AttributeError) as error:
        raise NativeError(f"PyTorch's OpenMP runtime was not found ({error})") from error
    functions = ctypes.CDLL(str(library))
    for of_space in (functions.vos_zoo_select_tokens_space, functions.vos_zoo_sum_rows_space):
        of_space.restype = ctypes.c_int64
    code = NativeCode(functions, ctypes.cast(run_on_threads, ctypes.c_void_p))
    if not is_right(code):
        raise NativeError("what the C compiler made of it gives wrong results")
    return code


def is_right(code: NativeCode) -> bool:
    """Compare a small read with sorting: small whole numbers, exact in every order of summing, with many ties."""

    def numbers(rows: int, columns: int, most: int) -> Tensor:
        count = torch.arange(rows * columns, dtype=torch.float32, device="cpu")
        return count.mul_(11).fmod_(most).sub_(most // 2).view(rows, columns)

    query, keys, table, bias = numbers(37, 5, 7), numbers(400, 5, 7), numbers(400, 70, 17), numbers(400, 1, 3)[:, 0]
    expected = (query @ keys.T + bias).sort(dim=1, descending=True, stable=True)
    threads = min(2, thread_count())
    found = code.search(query, keys, bias, 9, threads)
    if found is None:
        return False
    chosen, order = expected.indices[:, :9].sort(dim=1)
    similarity = expected.values[:, :9].gather(1, order)
    return (
        torch.equal(found[0], chosen)
        and torch.equal(found[1], similarity)
        and all(
            # Few queries of a table are read in place, more from a copy.
            torch.equal(code.sum_rows(table, some, of_some, threads), (of_some.unsqueeze(2) * table[some]).sum(1))
            for some, of_some in ((chosen, similarity), (chosen.repeat(6, 1), similarity.repeat(6, 1)))
        )
    )


def _address(tensor: Tensor | None) -> Any:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


class _Native:
    name = "native"

    def status(self) -> BackendStatus:
        lacking = unavailable_reason()
        about = "compiled by this machine's C compiler, the choice for top-k on CPUs"
        return BackendStatus(self.name, lacking is None, lacking or about)

    def refusal(self, read: Read) -> str | None:
        if read.top_k is None:
            return "it reads the k most similar tokens, not all"
        if read.needs_gradients:
            return "it has no gradients through top-k"
        return refusal(read.query, read.memory) or unavailable_reason()

    def read(self, read: Read) -> tuple[Tensor, Tensor | None]:
        assert read.top_k is not None
        return cpu.read_selected(read.query, read.memory, read.top_k, read.read_keys, select_tokens, weighted_rows)


BACKEND = _Native()
