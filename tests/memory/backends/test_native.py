from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from testing.memory_reads import random_read, read_by_loops
from testing.native import needs_compiler
from vos_zoo.memory import MemoryTokens, available_backends, choose_backend, read_memory
from vos_zoo.memory.backends import native

pytestmark = needs_compiler

# This processor's instructions, those that every processor has, and vectors wider than the processor's, which take the
# branches without intrinsics.
VARIANTS = {
    "own": native.cpu_flags(),
    "plain": (),
    "wide": (*native.cpu_flags(), "-DVECTOR_BYTES=64"),
    "plain and wide": ("-DVECTOR_BYTES=32",),
}


@cache
def code_of(variant: str) -> native.NativeCode:
    return native.find_code(VARIANTS[variant])


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and nothing remembered of an earlier search for a compiler."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    native._find_code.cache_clear()
    yield tmp_path
    native._find_code.cache_clear()


def run_python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": search_path}
    return subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True)


def whole_numbers(rows: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, (rows, width), generator=generator).float()


def best_tokens(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sort; among equals the first ones go first."""
    ordered = similarity.sort(dim=1, descending=True, stable=True)
    tokens, order = ordered.indices[:, :k].sort(dim=1)
    return tokens, ordered.values[:, :k].gather(1, order)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60)
@given(
    queries=st.integers(1, 150),
    tokens=st.one_of(st.integers(1, 60), st.integers(60, 7000)),
    width=st.integers(1, 9),
    top_k=st.integers(1, 700),
    threads=st.integers(1, 5),
    has_bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_a_stable_sort(
    variant: str, queries: int, tokens: int, width: int, top_k: int, threads: int, has_bias: bool, seed: int
) -> None:
    """Similarities are whole numbers, exact in every order of summing, and tie often."""
    query, keys = whole_numbers(queries, width, seed), whole_numbers(tokens, width, seed + 1)
    bias = whole_numbers(tokens, 1, seed + 2)[:, 0] if has_bias else None
    top_k = min(top_k, tokens)
    found = code_of(variant).search(query, keys, bias, top_k, threads)
    assert found is not None
    expected = best_tokens(query @ keys.T + (0 if bias is None else bias), top_k)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=40)
@given(
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e15]),
    tokens=st.integers(30, 5000),
    shift=st.sampled_from([0.0, -1e3, 1e3]),
    masked=st.floats(0, 0.999),
    seed=st.integers(0, 2**31),
)
def test_any_size_of_similarity(variant: str, size: float, tokens: int, shift: float, masked: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, keys = torch.randn(40, 16, generator=generator) * size, torch.randn(tokens, 16, generator=generator) * size
    bias = torch.randn(tokens, generator=generator) + shift
    bias[torch.rand(tokens, generator=generator) < masked] = -torch.inf
    found = code_of(variant).search(query, keys, bias, 21, threads=2)
    assert found is not None
    exact = query.double() @ keys.double().T + bias.double()
    mine, best = exact.gather(1, found[0]), exact.topk(21).values
    limit = 1e-5 * exact[exact.isfinite()].abs().max().clamp(min=1e-30) if exact.isfinite().any() else 0.0
    for read, right in ((mine.sort(1, descending=True).values, best), (found[1].double(), mine)):
        assert torch.equal(read.isfinite(), right.isfinite())
        assert ((read - right).nan_to_num(0, 0, 0).abs() <= limit).all()
    assert (found[0].diff(dim=1) > 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60)
@given(
    queries=st.integers(1, 150),
    rows=st.one_of(st.integers(1, 60), st.integers(1000, 9000)),
    columns=st.integers(1, 300),
    spare=st.integers(0, 3),
    k=st.integers(1, 30),
    threads=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_sums_of_rows(
    variant: str, queries: int, rows: int, columns: int, spare: int, k: int, threads: int, seed: int
) -> None:
    """Short tables are copied, slice by slice, and long ones are read in place; whole numbers, summed exactly."""
    table = whole_numbers(rows, columns + spare, seed)[:, :columns]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(rows, (queries, k), generator=generator)
    weights = whole_numbers(queries, k, seed + 1)
    summed = code_of(variant).sum_rows(table, chosen, weights, threads)
    assert torch.equal(summed, torch.einsum("qk,qkd->qd", weights, table[chosen]))


@pytest.mark.parametrize(("grid", "width"), [((0, 3), 4), ((2, 3), 0), ((20, 30), 0)])
def test_nothing_to_read(grid: tuple[int, int], width: int) -> None:
    memory = MemoryTokens(torch.randn(1, 30, 8), torch.zeros(1, 30), torch.randn(1, 30, width), 1.0)
    assert read_memory(torch.randn(1, 8, *grid), memory, top_k=5).values.shape == (1, width, *grid)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("rows", "columns", "queries", "k", "threads"),
    [
        pytest.param(3000, 2560, 1000, 3, 2, id="in place"),
        pytest.param(50, 2560, 1000, 3, 2, id="fewer rows than pairs of queries"),
        pytest.param(1000, 2560, 1000, 10, 2, id="slices, each copied while another is summed"),
        pytest.param(50, 2568, 1001, 3, 1, id="a narrow last slice, and a query without another"),
        pytest.param(300, 2551, 1000, 5, 3, id="rows that do not start at whole vectors"),
        pytest.param(60, 64, 35001, 1, 5, id="parts of few slices"),
    ],
)
def test_large_results(variant: str, rows: int, columns: int, queries: int, k: int, threads: int) -> None:
    """They may lie in huge pages and be written past the caches."""
    table, weights = whole_numbers(rows, columns, 1), whole_numbers(queries, k, 2)
    assert 4 * queries * columns > 8 * 2**20
    chosen = torch.randint(rows, (queries, k), generator=torch.Generator().manual_seed(3))
    expected = torch.zeros(queries, rows).scatter_add_(1, chosen, weights) @ table
    for _ in range(3):
        assert torch.equal(code_of(variant).sum_rows(table, chosen, weights, threads), expected)


def test_threads_do_not_share_their_work_space() -> None:
    code = code_of("own")
    keys, table = whole_numbers(900, 16, 1), whole_numbers(900, 96, 2)
    queries = [whole_numbers(300, 16, seed) for seed in range(3, 7)]

    def read(query: Tensor) -> list[Tensor]:
        found = code.search(query, keys, None, 20, threads=1)
        assert found is not None
        return [*found, code.sum_rows(table, *found, threads=1)]

    alone = [read(query) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(25):
            for one, other in zip(alone, pool.map(read, queries), strict=True):
                assert all(map(torch.equal, one, other))


def test_a_small_work_space_is_kept() -> None:
    space = native.WorkSpace()
    small = space.at_least(1000)
    assert space.at_least(900) is small
    large = space.at_least(17 * 2**20)
    assert len(large) == 17 * 2**20
    assert space.at_least(1000) is small
    larger = space.at_least(2000)
    assert space.at_least(1000) is larger


def test_the_memory_of_a_result_that_nobody_holds_is_used_again() -> None:
    space = native.WorkSpace()
    first = space.result(1000, 1000).fill_(1)
    place, view = first.data_ptr(), first[500:].mT
    second = space.result(1000, 1000).fill_(2)
    assert second.data_ptr() != place
    del first
    third = space.result(1000, 1000).fill_(3)
    assert view.eq(1).all()
    assert second.eq(2).all()
    place = third.data_ptr()
    del third
    assert space.result(700, 1000).data_ptr() == place


def test_pages_of_results_up_to_32_mib_are_kept() -> None:
    space = native.WorkSpace()

    def kept_rows() -> list[int]:
        return [pages.size // 2**20 for pages in space._kept_pages]

    space.result(10, 2**18)
    assert kept_rows() == [10]
    held = [space.result(rows, 2**18) for rows in (12, 14, 6)]
    assert kept_rows() == [12, 14, 6]
    del held
    for rows in (1, 7, 33):
        assert space.result(rows, 2**18).shape == (rows, 2**18)
        assert kept_rows() == [12, 14, 6]


def test_zeros_of_both_signs_tie() -> None:
    query, keys = torch.ones(20, 2), torch.zeros(300, 2)
    bias = torch.zeros(300)
    keys[::2], bias[::2] = -0.0, -0.0
    found = code_of("own").search(query, keys, bias, 9, threads=1)
    assert found is not None
    assert torch.equal(found[0], torch.arange(9).expand(20, 9))


@pytest.mark.parametrize("place", ["query", "key", "last key", "bias"])
def test_what_is_not_a_number_is_left_to_others(place: str) -> None:
    query, memory = random_read(queries=40, tokens=901)
    part, row = {
        "query": (query, 3),
        "key": (memory.keys, 5),
        "last key": (memory.keys, 900),
        "bias": (memory.bias, 7),
    }[place]
    assert part is not None
    part[0, row] = torch.nan
    assert (
        code_of("own").search(query[0], memory.keys[0], None if memory.bias is None else memory.bias[0], 9, 2) is None
    )
    by_others = read_memory(query.mT.unsqueeze(2), memory, top_k=9, backend="cpu").values
    values = read_memory(query.mT.unsqueeze(2), memory, top_k=9, backend="native").values
    assert torch.equal(values.isnan(), by_others.isnan())
    assert values.isnan().any()


def test_rows_of_a_larger_bank_are_read_in_place() -> None:
    query, memory = random_read(queries=30, tokens=800, batch=2)
    assert memory.bias is not None
    wide = torch.cat([memory.keys, torch.full_like(memory.keys, torch.nan)], 2)
    part = MemoryTokens(wide[:, :700, :8], memory.bias[:, :700], memory.values[:, :700], memory.scale)
    values = read_memory(query.mT.unsqueeze(2), part, top_k=20, backend="native").values.flatten(2).mT
    torch.testing.assert_close(values.double(), read_by_loops(query, part, 20)[0], rtol=0, atol=1e-4)


def test_wider_keys_are_left_to_others() -> None:
    query, memory = random_read(queries=30, tokens=800, dtype=torch.float64)
    choice = choose_backend(query, memory, 20)
    assert choice.name == "cpu"
    assert "torch.float64" in choice.reason


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_keys_in_half_precision_are_compared_in_float32(dtype: torch.dtype) -> None:
    query, memory = random_read(queries=30, tokens=800, dtype=dtype)
    assert choose_backend(query, memory, 20).name == "native"
    chosen, weights = native.select_tokens(query[0], memory, 0, 20)
    exact, of_exact = native.select_tokens(query[0].float(), replace(memory, keys=memory.keys.float()), 0, 20)
    assert torch.equal(chosen, exact)
    assert torch.equal(weights, of_exact)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX-512 is for x86")
def test_compiles_for_avx512(tmp_path: Path) -> None:
    native.compile_source(["cc"], native._INSTRUCTIONS["AVX512"], tmp_path / "code.so")
    assert (tmp_path / "code.so").stat().st_size


def the_library(cache: Path) -> Path:
    """Let the code be compiled and return the file."""
    native._find_code.cache_clear()
    assert native.unavailable_reason() is None
    (library,) = (cache / "vos_zoo" / "native").iterdir()
    return library


def test_is_compiled_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = the_library(fresh)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("It was compiled again."))
    assert the_library(fresh) == library


def compiler(path: Path, *lines: str) -> str:
    """Write a program that stands in for a compiler; ``$out`` is the file to write."""
    head = ["#!/usr/bin/env bash", 'while [ "$1" != -o ]; do shift; done', 'out="$2"']
    path.write_text("\n".join([*head, *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


def odd_compilers() -> dict[str, tuple[tuple[str, ...] | str, str]]:
    """Give compilers, as CC or as a program's lines, and what the reason must say."""
    empty = "echo 'int other;' | cc -x c -shared -o \"$out\" -"
    return {
        "missing": ("no-such-compiler", "no C compiler"),
        "failing": ("false", "`false .* failed"),
        "silent": ("true", r"No such file"),
        "open quote": ("gcc '", "CC is `gcc '`"),
        "only a quote": ("'", "CC is `'`"),
        "nothing in quotes": ("''", "no C compiler"),
        "a folder": ("/tmp", "no C compiler"),
        "messages in Latin-1": (("printf 'erreur: t\\xeate' >&2", "exit 1"), "failed: erreur: t.te"),
        "an empty file": (('touch "$out"',), "file too short"),
        "text": (('echo hello > "$out"',), "file too short|invalid ELF header"),
        "a library without symbols": ((empty,), "undefined symbol"),
    }


@pytest.mark.parametrize("kind", odd_compilers())
def test_without_a_compiler_pytorch_searches(
    kind: str, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, reason = odd_compilers()[kind]
    monkeypatch.setenv("CC", made if isinstance(made, str) else compiler(tmp_path / "compiler", *made))
    query, memory = random_read(queries=3, tokens=50)
    choice = choose_backend(query, memory, 5)
    assert choice.name == "cpu"
    status = {backend.name: backend for backend in available_backends()}["native"]
    assert not status.is_available
    assert re.search(reason, choice.reason)
    assert re.search(reason, status.reason)
    assert read_memory(query.mT.unsqueeze(2), memory, top_k=5).values.isfinite().all()
    assert not list(fresh.rglob("*.so"))


def test_code_for_this_processor_alone_is_not_loaded_on_another(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -march=native")
    mine = the_library(fresh)
    monkeypatch.setattr(native, "_cpu_features", lambda: "flags: of another processor")
    native._find_code.cache_clear()
    assert native.unavailable_reason() is None
    assert len({mine, *(fresh / "vos_zoo" / "native").iterdir()}) == 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(fresh: Path) -> None:
    (fresh / "vos_zoo").write_text("A file where the folder should be.")
    assert native.unavailable_reason() is None
    assert (fresh / "vos_zoo").read_text() == "A file where the folder should be."


def test_what_killed_compilations_left_is_swept(fresh: Path) -> None:
    folder = the_library(fresh).parent
    for name, age in ((".compiling-old", 3600), (".compiling-now", 1)):
        (folder / name).mkdir()
        (folder / name / "half.so").write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    native._find_code.cache_clear()
    assert native.unavailable_reason() is None
    assert not (folder / ".compiling-old").exists()
    assert (folder / ".compiling-now").exists()


def test_a_damaged_library_is_made_again(fresh: Path) -> None:
    library = the_library(fresh)
    whole = library.read_bytes()
    library.unlink()  # the file that this process has loaded must not change
    library.write_bytes(whole[: len(whole) // 2] + b"nothing" + whole[len(whole) // 2 + 7 :])
    library.chmod(0o700)
    assert the_library(fresh).read_bytes() == whole


CUT = """
import os, sys
from pathlib import Path
from vos_zoo.memory.backends import native

assert native.unavailable_reason() is None
folder = Path(os.environ["XDG_CACHE_HOME"], "vos_zoo", "native")
(first,) = folder.iterdir()
whole = first.read_bytes()
Path(sys.argv[1], "whole.so").write_bytes(whole)
os.environ["CC"] = sys.argv[2]  # which copies the whole library
native._find_code.cache_clear()
assert native.unavailable_reason() is None
(library,) = set(folder.iterdir()) - {first}
for size in [*range(0, len(whole), 4096), len(whole) - 1]:
    library.unlink()
    library.write_bytes(whole[:size])
    library.chmod(0o700)
    native._find_code.cache_clear()
    assert native.unavailable_reason() is None, size
    assert library.stat().st_size > size
print("done", len(whole))
"""


@pytest.mark.slow
def test_a_library_that_was_cut_anywhere_is_made_again(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a process of its own, which the system kills if it runs into the part that is not there."""
    place = tmp_path_factory.mktemp("copy")
    copier = compiler(place / "copier", f'cp "{place}/whole.so" "$out"')
    result = run_python(CUT, str(place), copier)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("done")


FORK = """
import os, signal, sys, time
import torch
from vos_zoo.memory import MemoryTokens, read_memory
from vos_zoo.memory.backends import native

torch.set_num_threads(2)
torch.rand(700, 700) @ torch.rand(700, 700)
torch.rand(10**6).sum()  # the threads of the OpenMP runtime exist now
if sys.argv[1] == "parent":
    assert native.unavailable_reason() is None
query = torch.rand(1, 8, 10, 20)
memory = MemoryTokens(torch.rand(1, 5000, 8), torch.zeros(1, 5000), torch.rand(1, 5000, 64), 1.0)
rows, weights = torch.randint(5000, (200, 5)), torch.rand(200, 5)
child = os.fork()
if child == 0:
    if sys.argv[2] == "one":
        torch.set_num_threads(1)  # as a DataLoader's worker does
        read_memory(query, memory, top_k=5, backend="native")
    else:  # PyTorch's own operations would wait for ever
        native.weighted_rows(memory.values[0], rows, weights)
    os._exit(7)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(0 if os.waitstatus_to_exitcode(status) == 7 else f"exit status {status}")
    time.sleep(0.05)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
sys.exit("the child hangs")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("tried_in", "threads"), [("parent", "one"), ("child", "one"), ("parent", "all")])
def test_a_forked_process_does_not_wait_for_threads_it_has_not(fresh: Path, tried_in: str, threads: str) -> None:
    result = run_python(FORK, tried_in, threads)
    assert result.returncode == 0, result.stderr


def test_a_forked_process_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.thread_count() == torch.get_num_threads()
    monkeypatch.setattr(native, "_PROCESS", -1)
    assert native.thread_count() == 1


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile a library that makes a file when it is loaded, under the name of the right one."""
    place = tmp_path_factory.mktemp("evil")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        patch.delenv("CC", raising=False)
        name = the_library(place).name
        native._find_code.cache_clear()
    (place / "evil.c").write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void run(void)"
        '{ fclose(fopen(getenv("VOS_ZOO_MARKER"), "w")); }\n'
    )
    library = place / name
    subprocess.run(["cc", "-shared", "-fPIC", str(place / "evil.c"), "-o", str(library)], check=True)
    content = library.read_bytes()
    library.write_bytes(content + hashlib.sha256(content).digest())
    return library


@pytest.fixture
def marker(evil: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plant the library, and name the file that it would make."""
    monkeypatch.setenv("VOS_ZOO_MARKER", str(fresh / "code was run"))
    for folder in (fresh / "vos_zoo", fresh / "vos_zoo" / "native"):
        folder.mkdir(mode=0o700)
    planted = fresh / "vos_zoo" / "native" / evil.name
    planted.write_bytes(evil.read_bytes())
    planted.chmod(0o700)
    return fresh / "code was run"


class TestPlantedLibrary:
    """A library in a cache that others can write to is not loaded; its constructor would run."""

    def test_is_loaded_where_all_is_private(self, marker: Path) -> None:
        """The other tests mean something only if it would run."""
        assert native.unavailable_reason() is None
        assert marker.exists()

    @pytest.mark.parametrize("part", ["vos_zoo", "vos_zoo/native", "file"])
    @pytest.mark.parametrize("more", [0o020, 0o002, 0o1777])
    def test_others_may_write(self, fresh: Path, marker: Path, part: str, more: int) -> None:
        path = self.part(fresh, part)
        path.chmod(path.stat().st_mode & 0o7777 | more)
        assert native.unavailable_reason() is None
        assert not marker.exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    @pytest.mark.parametrize("part", ["vos_zoo", "vos_zoo/native", "file"])
    def test_belongs_to_another_user(self, fresh: Path, marker: Path, part: str) -> None:
        os.chown(self.part(fresh, part), 65534, 65534)
        assert native.unavailable_reason() is None
        assert not marker.exists()

    @pytest.mark.parametrize("part", ["vos_zoo", "vos_zoo/native", "file"])
    def test_is_a_link(self, fresh: Path, marker: Path, part: str) -> None:
        path = self.part(fresh, part)
        moved = path.rename(fresh / "moved")
        path.symlink_to(moved)
        assert native.unavailable_reason() is None
        assert not marker.exists()

    def test_lies_below_the_working_directory(
        self, fresh: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        monkeypatch.chdir(fresh.parent)
        monkeypatch.setenv("XDG_CACHE_HOME", fresh.name)
        monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        assert native.unavailable_reason() is None
        assert not marker.exists()

    @staticmethod
    def part(fresh: Path, name: str) -> Path:
        return next((fresh / "vos_zoo" / "native").glob("*.so")) if name == "file" else fresh / name


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077, 0o777])
def test_the_cache_is_private_whatever_the_umask(fresh: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "deep" / "down"))
    before = os.umask(umask)
    try:
        library = the_library(fresh / "deep" / "down")
    finally:
        os.umask(before)
    for path in (library, *library.parents[:4]):
        assert path.stat().st_mode & 0o777 == 0o700, path
    assert the_library(fresh / "deep" / "down") == library


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("count += rank >= floor;", "count += rank > floor;"),
        ("for (int64_t i = 0; i < all->k; i++) sum += ", "for (int64_t i = 1; i < all->k; i++) sum += "),
        ("row = table + chosen[i] * stride,", "row = table + chosen[0] * stride,"),
        ("other_row = table + other_chosen[I]", "other_row = table + chosen[I]"),
    ],
)
def test_code_that_computes_something_else_is_not_used(
    right: str, wrong: str, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = native.SOURCE.read_text()
    assert text.count(right) == 1
    source = fresh / "native.c"
    source.write_text(text.replace(right, wrong))
    monkeypatch.setattr(native, "SOURCE", source)
    assert native.unavailable_reason() == "what the C compiler made of it gives wrong results"
