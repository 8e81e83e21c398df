"""What can be told of Triton programs without a GPU: how often they are compiled, and whether registers suffice."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest


def triton_version() -> tuple[int, ...]:
    """Return the first two parts of the version; nothing without Triton."""
    if importlib.util.find_spec("triton") is None:
        return ()
    import triton

    return tuple(int(part) for part in triton.__version__.split(".")[:2])


needs_triton = pytest.mark.skipif(
    triton_version() < (3, 4), reason="Triton is missing, or older than 3.4, which needs a GPU to be tested"
)


def compile_program(
    architecture: int,
    program: Any,
    pointers: dict[str, str],
    constants: dict[str, Any],
    *,
    aligned: Sequence[str] = (),
    warps: int = 4,
    stages: int = 3,
) -> Any:
    """Compile a program to a CUDA binary; arguments that are neither are integers, but for the scale.

    Args:
        architecture: Compute capability, 90 for 9.0.
        program: As ``triton.jit`` made it.
        pointers: Types of what the pointers among its arguments point to.
        constants: Its constants.
        aligned: Numbers that are multiples of 16, as pointers are.
        warps: Of a program.
        stages: For loops.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = program.arg_names
    types = dict.fromkeys(names, "i32") | {"scale": "fp32"}
    types |= {argument: f"*{kind}" for argument, kind in pointers.items()}
    source = ASTSource(
        fn=program,
        signature={name: "constexpr" if name in constants else types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (names.index(name),): [["tt.divisibility", 16]] for name in names if name in pointers or name in aligned
        },
    )
    options = {"num_warps": warps, "num_stages": stages}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def stack_bytes(program: Any) -> int:
    """Return the bytes per thread that a compiled program spills from registers to memory."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(program.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (stack,) = re.findall(r"STACK:(\d+)", report)
    return int(stack)


class _Driver:
    """Stands in for CUDA's, with a device whose number no real device has, so that its programs stay apart."""

    def get_current_device(self) -> int:
        return 1000

    def get_current_stream(self, device: int) -> int:
        del device
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_benchmarker(self) -> Any:
        def measure(call: Any, quantiles: Any) -> list[float]:
            call()
            return [1.0 for _ in quantiles]

        return measure


@contextmanager
def recorded_compilations() -> Iterator[list[str]]:
    """Let programs be called with tensors on the CPU; list each variant that Triton would compile, and run none."""
    import triton
    from triton.runtime import driver

    compiled: list[str] = []
    seen: set[tuple[str, str]] = set()

    def note(*, key: Any, fn: Any, repr: str, **_: Any) -> bool:
        if (fn.name, str(key)) not in seen:
            seen.add((fn.name, str(key)))
            compiled.append(repr)
        return True  # which tells Triton not to compile

    before, hook = driver._active, triton.knobs.runtime.jit_cache_hook
    driver.set_active(_Driver())
    triton.knobs.runtime.jit_cache_hook = note
    try:
        yield compiled
    finally:
        driver._active, triton.knobs.runtime.jit_cache_hook = before, hook
