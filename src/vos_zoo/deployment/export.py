"""The export: from a model to a folder that a session without torch opens."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.deployment.archives import write_archives
from vos_zoo.deployment.half import to_half
from vos_zoo.deployment.onnx_files import OPSET, check_extra, to_model, write_models
from vos_zoo.deployment.quantize import CalibrationClip, quantize
from vos_zoo.errors import ConfigError, OutputExistsError, VosZooError
from vos_zoo.files import check_outputs, folder_lock
from vos_zoo.inference.unwrap import find_network
from vos_zoo.media.mask_values import davis_palette
from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD
from vos_zoo.runtime.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    VERBS,
    Array,
    GraphFile,
    Manifest,
    MemoryRules,
    read_manifest,
)
from vos_zoo.version import __version__
from vos_zoo.weights.find import local_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vos_zoo.deployment.trace import Program
    from vos_zoo.inference.unwrap import Model
    from vos_zoo.network import MemoryPolicy, VOSNetwork
    from vos_zoo.portable import PortableVerbs
    from vos_zoo.runtime.manifest import Kind, Precision

__all__ = ["export_model"]

_MOST_FRAMES = 64  # of a memory whose policy names no bound


def export_model(
    model: Model,
    out: str | Path,
    *,
    to: Kind = "onnx",
    size: tuple[int, int] | None = None,
    objects: int | None = None,
    precision: Precision = "fp32",
    policy: MemoryPolicy | None = None,
    calibration: Iterable[CalibrationClip] = (),
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write a model's verbs as fixed graphs, with ``session.json`` beside them.

    Args:
        model: A name for :func:`vos_zoo.load_model`, a loaded model, or its network.
        out: Folder to write; it is made if it does not exist.
        to: ``onnx``; ``pt2`` for archives of ``torch.export``; ``aoti`` for packages that torch's compiler makes for
            this kind of machine.
        size: The one (height, width) in pixels that graphs take, multiples of the network's stride; frames are scaled
            and padded into it. None lets them take any size.
        objects: Most objects that graphs take, and always compute; None lets them take any number.
        precision: Of ONNX graphs. ``fp32``; ``fp16`` for weights of half the bytes, and arithmetic in float32;
            ``int8`` for convolutions in 8 bits, calibrated on videos.
        policy: What sessions keep in memory; None means the paper's policy, bounded.
        calibration: For ``int8``: videos, each with the mask of its first frame; none means the bundled clip.
        overwrite: Replace files in ``out`` that have the names of new ones, when all new ones are complete.
        progress: Called with the number of finished steps and the number of all steps.

    Returns:
        What was written into ``session.json``.

    Raises:
        MissingExtraError: If the extra ``onnx`` is not installed.
        ConfigError: If an argument is out of range, or the model cannot be exported; the message says why.
        OutputExistsError: If ``out`` holds a session and ``overwrite`` is false, or if it is the model's own folder.
        OutputInUseError: If another run writes into ``out`` at this moment.
        VosZooError: As :func:`vos_zoo.load_model` says, if ``model`` is a name.
    """
    out = Path(out)
    if to == "onnx":
        check_extra()
    elif precision != "fp32":
        raise ConfigError(f"precision={precision!r} belongs to ONNX graphs, not to {to!r}. Choose fp32.")
    folder = local_folder(model) if isinstance(model, (str, Path)) else None
    check_outputs([out], [] if folder is None else [folder])
    if (out / MANIFEST_FILE).exists() and not overwrite:
        raise OutputExistsError(
            f"{out} already holds exported graphs. Choose another folder, or replace them with `--overwrite`."
        )
    network = find_network(model)
    _check_sizes(size, objects, network.stride)
    steps = _Steps(progress, 3 * (2 if precision == "fp32" else 3))
    from vos_zoo.deployment.trace import Sizes, portable_verbs, trace

    with folder_lock(out), tempfile.TemporaryDirectory(prefix=".export-", dir=out) as draft:
        verbs = portable_verbs(network, policy)
        manifest = _describe(network, verbs, model, to, size, objects)
        programs = trace(verbs, Sizes(size, objects), finished=steps.finish)
        if to == "onnx":
            manifest = _write_onnx(Path(draft), programs, manifest, precision, list(calibration), steps)
        else:
            manifest = write_archives(Path(draft), programs, manifest, finished=steps.finish)
        (Path(draft) / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        _move(Path(draft), out, manifest)
    return manifest


def _check_sizes(size: tuple[int, int] | None, objects: int | None, stride: int) -> None:
    if size is not None and any(side < 1 or side % stride for side in size):
        height, width = (max(1, -(-side // stride)) * stride for side in size)
        raise ConfigError(
            f"The graphs' size is {size[0]}x{size[1]} (height x width). Expected multiples of {stride}; the next such "
            f"size is {height}x{width}."
        )
    if objects is not None and objects < 1:
        raise ConfigError(f"objects is {objects}. Expected at least 1, or None (`--objects dynamic`) for any number.")


def _describe(
    network: VOSNetwork[Any, Any],
    verbs: PortableVerbs,
    model: Model,
    kind: Kind,
    size: tuple[int, int] | None,
    objects: int | None,
) -> Manifest:
    """Return everything but the files."""
    policy = verbs.policy
    bound = None
    if verbs.kind == "frames":
        bound = policy.max_frames or _MOST_FRAMES
    return Manifest(
        format_version=FORMAT_VERSION,
        vos_zoo_version=__version__,
        model=str(model) if isinstance(model, (str, Path)) else type(network).__name__,
        network=type(network).__name__,
        kind=kind,
        precision="fp32",
        opset=OPSET if kind == "onnx" else None,
        graphs=dict.fromkeys(VERBS, GraphFile("", 0, "")),
        weights=None,
        stride=network.stride,
        working_size=network.working_size,
        size=size,
        objects=objects,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        pads_before_normalisation=network.pads_before_normalisation,
        pads_masks_with_zeros=network.pads_masks_with_zeros,
        memory=MemoryRules(
            kind=verbs.kind,
            state=tuple(Array(array.name, array.shape) for array in verbs.state),
            every=policy.every,
            max_frames=bound,
            keep_latest=policy.keep_latest,
            carries=verbs.carries,
            splits_on_correction=verbs.splits_on_correction,
        ),
        palette=tuple((int(red), int(green), int(blue)) for red, green, blue in davis_palette()),
    )


def _write_onnx(
    folder: Path,
    programs: Sequence[Program],
    manifest: Manifest,
    precision: Precision,
    calibration: Sequence[CalibrationClip],
    steps: _Steps,
) -> Manifest:
    models = {}
    for program in programs:
        models[program.name] = to_model(program)
        steps.finish()
    arrays = {program.name: (program.inputs, program.outputs) for program in programs}
    if precision == "fp16":
        for verb, model in models.items():
            models[verb] = to_half(model)
            steps.finish()
    graphs, weights = write_models(folder, models, arrays)
    exact = replace(manifest, graphs=graphs, weights=weights)
    if precision == "int8":
        models = quantize(folder, exact, calibration, finished=steps.finish)
        graphs, weights = write_models(folder, models, arrays)
    return replace(manifest, graphs=graphs, weights=weights, precision=precision)


def _move(draft: Path, out: Path, manifest: Manifest) -> None:
    """Put the finished files in place, ``session.json`` last, and remove those of an earlier export."""
    earlier = set[str]()
    if (out / MANIFEST_FILE).exists():
        with contextlib.suppress(VosZooError):
            earlier = {entry.file for entry in read_manifest(out).files}
        (out / MANIFEST_FILE).unlink()  # from here on, nothing is there until everything is
    names = [entry.file for entry in manifest.files]
    for name in (*names, MANIFEST_FILE):
        (draft / name).replace(out / name)
    for name in earlier - set(names):
        (out / name).unlink(missing_ok=True)


class _Steps:
    """Counts finished steps for a progress bar."""

    def __init__(self, progress: Callable[[int, int], None] | None, count: int) -> None:
        self._progress = progress
        self._count = count
        self._done = 0

    def finish(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._count)
