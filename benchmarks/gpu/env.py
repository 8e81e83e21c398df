"""Say what the machine has: device, versions, implementations of the read, and the rates that bound all others."""

from __future__ import annotations

import importlib.metadata

import torch
from common import Run

from vos_zoo.memory import available_backends
from vos_zoo.memory.benchmark import describe_machine, measure_rates

SECONDS = 40.0
_PACKAGES = ("torch", "triton", "pytorch-lightning", "timm", "albumentations")


def measure(run: Run) -> None:
    """Write one row for the machine and one for each type's rates."""
    versions = {name: version(name) for name in _PACKAGES}
    capability = torch.cuda.get_device_capability() if run.device.type == "cuda" else None
    run.row(machine=describe_machine(run.device), capability=capability, versions=versions)
    run.row(backends={status.name: status.reason for status in available_backends()})
    for dtype in (torch.float32, torch.bfloat16):
        if run.is_over or (run.is_dry and dtype != torch.float32):
            return
        rates = measure_rates(
            device=run.device, dtype=dtype, rounds=1 if run.is_dry else 5, side=256 if run.is_dry else None
        )
        run.row(dtype=str(dtype), matrix_flops=rates.matrix, thin_matrix_flops=rates.thin_matrix, copy_bytes=rates.copy)


def version(package: str) -> str:
    """Return the version of a package, or that it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
