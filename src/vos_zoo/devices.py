"""Which device a model runs on, and how much memory that took."""

from __future__ import annotations

import sys

import torch

from vos_zoo.errors import ConfigError

__all__ = ["computes_in", "find_device", "peak_memory"]


def find_device(device: str | torch.device = "auto") -> torch.device:
    """Return a device that exists.

    Args:
        device: ``"auto"`` takes the first of CUDA, MPS and CPU that is there; anything else is taken as torch reads
            it, for example ``"cpu"`` or ``"cuda:1"``.

    Raises:
        ConfigError: If torch does not know the name or the machine has no such device.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"Device {device!r} is unknown. Use auto, cpu, cuda, cuda:1 or mps.") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"Device {str(found)!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices. Use 'auto' or 'cpu', or install a driver and a torch build for CUDA."
        )
    if found.type == "mps" and not has_mps:
        raise ConfigError("Device 'mps' is not there: this torch sees no Apple GPU. Use 'auto' or 'cpu'.")
    if found.type not in {"cpu", "cuda", "mps"}:
        raise ConfigError(f"Device {str(found)!r} is not supported. Use auto, cpu, cuda, cuda:1 or mps.")
    return found


def computes_in(dtype: torch.dtype, device: str | torch.device) -> bool:
    """Say whether a device computes in a type of half precision by itself.

    A processor that does not (for bfloat16, one without AVX-512 or AMX) still gives right results, but many times
    slower than in float32.

    Args:
        dtype: ``torch.bfloat16`` or ``torch.float16``.
        device: A device that exists.
    """
    if torch.device(device).type != "cpu":
        return True
    # None of torch's public functions tells.
    name = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    probe = getattr(torch.ops.mkldnn, name, None)
    return probe is None or bool(probe())


def peak_memory(device: str | torch.device) -> int | None:
    """Return the most bytes in use so far: of torch on a CUDA device, otherwise of this process.

    Returns:
        Bytes; None where the system does not tell.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB, macOS bytes
