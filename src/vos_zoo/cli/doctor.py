"""``vos-zoo doctor``: what is installed, what the machine offers, what is broken."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import TYPE_CHECKING

from vos_zoo.errors import VosZooError
from vos_zoo.registry import HELPER_WEIGHTS, WEIGHTS
from vos_zoo.version import __version__

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vos_zoo.registry import Weight

SUMMARY = "Show versions, devices and bundled weights, and check that they work."

_PACKAGES = (
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "timm",
    "albumentations",
    "opencv-python-headless",
    "av",
    "numpy",
    "pillow",
    "safetensors",
    "huggingface_hub",
    "jsonargparse",
)
_OTHER_OPENCV_BUILDS = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Print the report; the exit code is 1 if something is broken."""
    print(f"vos_zoo {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"  at {sys.prefix}")
    problems: list[str] = []
    for title, lines in (
        ("Packages", _packages(problems)),
        ("Devices", _devices()),
        ("Memory read", _memory_read()),
        ("Video", _video(problems)),
        ("Bundled weights", _weights(problems)),
    ):
        print(f"{title}:")
        for line in lines:
            print(f"  {line}")
    print("Everything works." if not problems else f"{len(problems)} problem(s):")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def _packages(problems: list[str]) -> Iterator[str]:
    for name in _PACKAGES:
        version = _version(name)
        yield f"{name} {version or 'is missing'}"
        if version is None:
            problems.append(f"{name} is not installed; install vos-zoo again with `python -m pip install .`")
    builds = [name for name in _OTHER_OPENCV_BUILDS if _version(name)]
    if builds:
        problems.append(
            f"{', '.join(builds)} is installed beside opencv-python-headless; they overwrite each other's files. "
            "Uninstall all of them and install opencv-python-headless again"
        )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[str]:
    import torch

    from vos_zoo.devices import find_device
    from vos_zoo.inference.cuda_graphs import why_no_graphs

    yield f"auto means {find_device('auto')}"
    yield f"cpu: {torch.get_num_threads()} threads"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lacking = why_no_graphs(torch.device("cuda", index))
        graphs = "CUDA graphs work" if lacking is None else f"no CUDA graphs ({lacking})"
        yield f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.1f} GiB, {graphs}"
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        yield f"no CUDA device ({built})"
    if torch.backends.mps.is_available():
        yield "mps: Apple GPU"


def _memory_read() -> Iterator[str]:
    import torch

    from vos_zoo.devices import find_device
    from vos_zoo.memory import MemoryTokens
    from vos_zoo.memory.backends.choice import available_backends, choose_backend

    # A read as RDE-VOS does it: 64 channels, top 40 of the tokens of a frame.
    device = find_device("auto")
    keys = torch.zeros(1, 64, 64, device=device)
    tokens = MemoryTokens(keys=keys, bias=None, values=keys, scale=0.125)
    choice = choose_backend(torch.zeros(1, 64, 8, 8, device=device), tokens, 40)
    yield f"on {device} with top-k: {choice.name} ({choice.reason})"
    for status in available_backends():
        yield f"{status.name}: {'yes' if status.is_available else 'no'}, {status.reason}"


def _video(problems: list[str]) -> Iterator[str]:
    try:
        import av
    except ImportError as error:
        problems.append(f"PyAV does not load ({error}); videos are read by OpenCV, overlays cannot be written")
        yield "PyAV does not load, reading through OpenCV"
        return
    encoder = "libx264" in av.codecs_available
    yield f"PyAV {av.__version__}, H.264 encoder {'libx264' if encoder else 'missing'}"
    if not encoder:
        problems.append("this build of PyAV cannot write H.264; install it with `python -m pip install av`")


def _weights(problems: list[str]) -> Iterator[str]:
    if not WEIGHTS:
        yield "none in this version"
    for weight in (*WEIGHTS.values(), *HELPER_WEIGHTS.values()):
        yield f"{weight.name}: {_weight_state(weight, problems)}"


def _weight_state(weight: Weight, problems: list[str]) -> str:
    from vos_zoo.weights import locate_weight, verify_weight

    try:
        if not weight.in_wheel and locate_weight(weight) is None:
            return f"not on this machine; it comes with: {weight.place}"
        return str(verify_weight(weight))
    except VosZooError as error:
        problems.append(str(error))
        return "broken"
