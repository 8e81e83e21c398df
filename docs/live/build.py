"""Build the page that follows objects in a browser: ``python docs/live/build.py``.

The folder that it writes is the whole page, to be served as it is: what lies beside this file, the graphs of a model,
the prompt network, ONNX Runtime for browsers from npm, and the example. It is not kept in git.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.demo import demo_clip
from vos_zoo.deployment.export import export_model
from vos_zoo.deployment.half import to_half
from vos_zoo.deployment.onnx_files import check_extra, to_model
from vos_zoo.deployment.trace import Program
from vos_zoo.errors import CheckpointError, MissingExtraError, MissingFileError, VosZooError
from vos_zoo.inference.sizes import LARGEST_RATIO, LEAST_SIDE
from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD
from vos_zoo.prompts import prediction, window
from vos_zoo.prompts.maps import CHANNELS
from vos_zoo.runtime.manifest import LEAST_CELLS, Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

LIVE = Path(__file__).parent
BUILT = LIVE / "built"

#: ONNX Runtime for browsers as npm has it: newer versions are taken by changing both lines, after trying the page.
RUNTIME = "onnxruntime-web@1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

#: Its build for WebGPU, which also computes with WebAssembly alone.
RUNTIME_FILES = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)

LICENCE = """\
ONNX Runtime (onnxruntime-web), https://onnxruntime.ai

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def build(out: Path, *, model: str = "rde.small", runtime: Path | None = None) -> None:
    """Write the page.

    Args:
        out: Folder; what an earlier build left there is replaced.
        model: Name of the model that the page follows objects with.
        runtime: Archive of :data:`RUNTIME` as ``npm pack`` writes it; None lets npm fetch it.

    Raises:
        MissingExtraError: If npm or the extra ``onnx`` is not installed.
        MissingFileError: If npm does not get the archive, or there is no such file.
        CheckpointError: If the archive is not the one that the page was tried with.
        VosZooError: As :func:`vos_zoo.deployment.export.export_model` says.
    """
    check_extra()
    with tempfile.TemporaryDirectory() as place:
        add_runtime(runtime or fetch_runtime(Path(place)), out / "ort")
    copy_page(out)
    export_model(model, out / "graphs", precision="fp16", overwrite=True)
    add_prompt_network(out / "prompt")
    sizes = {"least_cells": LEAST_CELLS, "least_side": LEAST_SIDE, "largest_ratio": LARGEST_RATIO}
    (out / "live.json").write_text(json.dumps(sizes) + "\n", encoding="utf-8")
    clip = demo_clip()
    (out / "example").mkdir(exist_ok=True)
    for path in (clip.video, clip.first_mask, clip.credit):
        shutil.copy(path, out / "example")


def copy_page(out: Path) -> None:
    """Copy what is written by hand; without the rest, it says what is missing."""
    own = shutil.ignore_patterns("*.py", BUILT.name, "__pycache__")
    shutil.copytree(LIVE, out, dirs_exist_ok=True, ignore=own)


def fetch_runtime(place: Path) -> Path:
    """Let npm fetch the archive into a folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError(
            f"npm, which fetches {RUNTIME}, is not installed. Install it, or fetch the archive on another machine with "
            f"`npm pack {RUNTIME}` and name it with `--runtime FILE`."
        )
    words = [npm, "pack", RUNTIME, "--silent", "--pack-destination", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - words of our own
    archives = list(place.glob("*.tgz"))
    if done.returncode or not archives:
        raise MissingFileError(
            f"npm could not fetch {RUNTIME}: {done.stderr.strip() or 'it says nothing'}. Check the network, or name an "
            "archive with `--runtime FILE`."
        )
    return archives[0]


def add_runtime(archive: Path, out: Path) -> None:
    """Check the archive of ONNX Runtime and take out what the page loads."""
    if not archive.is_file():
        raise MissingFileError(f"{archive} does not exist. Expected what `npm pack {RUNTIME}` wrote. Check the path.")
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise CheckpointError(
            f"{archive.name} has the checksum {found}. Expected {INTEGRITY}, that of {RUNTIME}. Fetch it again with "
            f"`npm pack {RUNTIME}`."
        )
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        for name in RUNTIME_FILES:
            content = opened.extractfile(f"package/dist/{name}")
            assert content is not None
            (out / name).write_bytes(content.read())
    (out / "LICENSE.txt").write_text(LICENCE, encoding="utf-8")


def add_prompt_network(out: Path) -> None:
    """Export the network that makes masks from boxes, and what the page has to know to draw its inputs."""
    network = prediction.bundled_network()
    graph = export_prompt_network(network.config.crop_size)
    out.mkdir(parents=True, exist_ok=True)
    (out / "prompt.onnx").write_bytes(to_half(graph).SerializeToString())
    rules = {
        "stride": network.stride,
        "crop_size": network.config.crop_size,
        "channels": CHANNELS,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "margin": prediction.MARGIN,
        "inside": prediction.INSIDE,
        "box_tolerance": prediction.BOX_TOLERANCE,
        "least_side": window.LEAST_SIDE,
    }
    (out / "prompt.json").write_text(json.dumps(rules, indent=1) + "\n", encoding="utf-8")


def export_prompt_network(crop_size: int) -> onnx.ModelProto:
    """Turn the bundled prompt network into a graph for a crop and its mirror image, of any height and width."""
    import torch
    from torch.export import Dim

    network = prediction.bundled_network()
    stride = network.stride
    height, width = (Dim(name, min=1, max=crop_size // stride) for name in ("rows", "columns"))
    shapes = {2: stride * height, 3: stride * width}
    example = tuple(torch.rand(2, planes, 5 * stride, 3 * stride) for planes in (3, len(CHANNELS)))
    exported = torch.export.export(network, example, dynamic_shapes={"image": shapes, "maps": shapes}, strict=False)
    inputs = (Array("image", (2, 3, "height", "width")), Array("maps", (2, len(CHANNELS), "height", "width")))
    return to_model(Program("prompt", exported, network, inputs, (Array("logits", (2, 1, "height", "width")),)))


def main(words: Sequence[str] | None = None) -> int:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(description="Build the page that follows objects in a browser.")
    parser.add_argument("--out", type=Path, default=BUILT, help="folder to write (default: %(default)s)")
    parser.add_argument("--model", default="rde.small", help="model to export (default: %(default)s)")
    parser.add_argument("--runtime", type=Path, help=f"archive of {RUNTIME}, instead of asking npm")
    options = parser.parse_args(words)
    try:
        build(options.out, model=options.model, runtime=options.runtime)
    except VosZooError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    num_bytes = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"Built {options.out}: {num_bytes / 2**20:.0f} MiB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
