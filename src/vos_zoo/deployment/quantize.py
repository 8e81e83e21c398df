"""ONNX graphs whose convolutions compute in 8 bits, calibrated on videos."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vos_zoo.demo import demo_clip
from vos_zoo.runtime.graphs import OnnxGraphs
from vos_zoo.runtime.manifest import VERBS
from vos_zoo.runtime.session import GraphSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from vos_zoo.runtime.manifest import Manifest

__all__ = ["CalibrationClip", "quantize"]

_FRAMES = 12  # of every clip; the first ones, where objects look as annotated
_SAMPLES = 24  # of every verb at most, over all clips


class CalibrationClip(NamedTuple):
    """A video that shows what numbers the network computes with.

    Attributes:
        video: A video file or a folder of frames.
        mask: The mask of its first frame.
    """

    video: str | Path
    mask: str | Path


def quantize(
    folder: Path, manifest: Manifest, clips: Sequence[CalibrationClip], *, finished: Callable[[], None]
) -> dict[str, onnx.ModelProto]:
    """Return graphs that round what convolutions take, and their weights, to 8 bits.

    Everything else stays in float32, the memory read above all.

    Args:
        folder: Graphs in float32.
        manifest: Theirs.
        clips: Videos to calibrate on; none means the bundled clip.
        finished: Called after each verb.

    Raises:
        MissingFileError: If a video or a mask does not exist.
        VideoError: If a video cannot be read.
        MaskError: If a mask is none, or does not fit its video.
    """
    chosen = list(clips) or [CalibrationClip(demo_clip().video, demo_clip().first_mask)]
    models = {}
    with tempfile.TemporaryDirectory(prefix=".calibration-", dir=folder) as place:
        recorded = _record(folder, manifest, chosen, Path(place))
        for verb in VERBS:
            models[verb] = _quantize_graph(folder / manifest.graphs[verb].file, recorded[verb])
            finished()
    return models


def _quantize_graph(path: Path, samples: list[Path]) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix=".int8-", dir=path.parent) as place, _quiet():
        result = Path(place) / path.name
        quantize_static(
            onnx.load(str(path)),
            str(result),
            _Samples(samples),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        return onnx.load(str(result))


class _Samples:
    """Inputs of one graph, in the form of ONNX Runtime's ``CalibrationDataReader``."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        self.rewind()

    def rewind(self) -> None:
        self._left = iter(self._files)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        path = next(self._left, None)
        if path is None:
            return None
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays}

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return self

    def __next__(self) -> dict[str, NDArray[np.float32]]:
        sample = self.get_next()
        if sample is None:
            raise StopIteration
        return sample


class _Recorder(OnnxGraphs):
    """Runs graphs and writes what they take to the disk, which may be more than memory holds."""

    def __init__(self, folder: Path, manifest: Manifest, place: Path) -> None:
        super().__init__(folder, manifest)
        self._place = place
        self._manifest = manifest
        self.files: dict[str, list[Path]] = {verb: [] for verb in VERBS}

    def run(self, verb: str, values: Mapping[str, Any]) -> dict[str, Any]:
        files = self.files[verb]
        path = self._place / f"{verb}-{len(files)}.npz"
        names = [array.name for array in self._manifest.graphs[verb].inputs]
        arrays: dict[str, Any] = {name: self.to_array(values[name]) for name in names}
        np.savez(path, **arrays)
        files.append(path)
        return super().run(verb, values)


def _record(folder: Path, manifest: Manifest, clips: Sequence[CalibrationClip], place: Path) -> dict[str, list[Path]]:
    """Segment the first frames of all clips; return the inputs of each verb, spread over them."""
    from vos_zoo.media.masks import check_mask_size, read_mask
    from vos_zoo.media.reader import open_video

    (folder / "session.json").write_text(manifest.to_json(), encoding="utf-8")
    recorder = _Recorder(folder, manifest, place)
    for clip in clips:
        session = GraphSession(folder, graphs=recorder)
        mask = read_mask(clip.mask)
        for number, frame in enumerate(open_video(clip.video, end=_FRAMES)):
            if number == 0:
                check_mask_size(mask, (frame.image.shape[0], frame.image.shape[1]), name=f"Mask `{clip.mask}`")
            session.step(frame.image, mask if number == 0 else None)
    return {
        verb: [files[index] for index in np.unique(np.linspace(0, len(files) - 1, _SAMPLES).astype(int))]
        for verb, files in recorder.files.items()
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' advice to their developers from the user."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
