"""What files declare is held against limits before it is read, and the limits can be raised."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testing.bombs import NESTED, huge_png, odd_zip
from testing.checkpoints import save_tiny
from testing.limits import memory_limit
from testing.videos import clip as pictures
from testing.videos import write_video
from vos_zoo import load_model
from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.pictures import CocoInstances, decode_segmentation
from vos_zoo.data.layouts.youtube_vos import read_meta
from vos_zoo.errors import CheckpointError, ConfigError, DataError, EvaluationError, MaskError, VideoError
from vos_zoo.limits import MAX_BYTES_VARIABLE, MAX_PIXELS_VARIABLE, byte_excess, max_pixels, pixel_excess
from vos_zoo.media.frames import read_image
from vos_zoo.media.masks import read_mask
from vos_zoo.media.reader import open_video
from vos_zoo.metrics import EvaluationReport
from vos_zoo.metrics.folders import read_meta as read_evaluation_meta
from vos_zoo.models.dmn_aoa.proposal_files import read_index, read_proposals
from vos_zoo.models.tsn import TSNConfig
from vos_zoo.run_file import changed_settings
from vos_zoo.weights.checksum import remembered_sha256
from vos_zoo.weights.tensors import TensorFile


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """2 GiB are plenty for files of kilobytes."""
    if sys.platform != "linux":
        yield
        return
    with memory_limit(2 * 2**30):
        yield


def test_a_limit_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pixel_excess(1080, 1920) is None
    assert byte_excess(2**20) is None
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "12")
    assert max_pixels() == 12
    assert pixel_excess(3, 4) is None
    assert f"set {MAX_PIXELS_VARIABLE}=15" in str(pixel_excess(3, 5))
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "many")
    with pytest.raises(ConfigError, match=r"'many'\. Expected a whole number"):
        max_pixels()
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "-1")
    with pytest.raises(ConfigError, match=MAX_BYTES_VARIABLE):
        byte_excess(1)


# Images


def picture(folder: Path) -> object:
    return FileTree(folder).read_picture("image.png")


def mask(folder: Path) -> object:
    return FileTree(folder).read_mask("image.png")


IMAGE_DOORS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "frame": (lambda folder: read_image(folder / "image.png"), VideoError),
    "mask": (lambda folder: read_mask(folder / "image.png"), MaskError),
    "image of training": (picture, DataError),
    "mask of training": (mask, DataError),
}


@pytest.mark.parametrize("door", IMAGE_DOORS)
@pytest.mark.parametrize("side", [32_000, 40_000])  # OpenCV raises an error of its own for the second
def test_an_image_that_declares_gigabytes_is_not_decoded(tmp_path: Path, door: str, side: int) -> None:
    read, error = IMAGE_DOORS[door]
    (tmp_path / "image.png").write_bytes(huge_png(side))
    with pytest.raises(error, match=rf"image\.png.*{side**2} pixels.*{MAX_PIXELS_VARIABLE}"):
        read(tmp_path)


@pytest.mark.parametrize("door", IMAGE_DOORS)
def test_the_limit_of_pixels_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    read, error = IMAGE_DOORS[door]
    Image.fromarray(np.zeros((6, 7), np.uint8)).save(tmp_path / "image.png")
    read(tmp_path)
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "41")
    with pytest.raises(error, match="7x6 pixels, more than 41"):
        read(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)  # Pillow's own limit must not stand in the way
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "42")
    read(tmp_path)


def test_a_video_has_the_same_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "clip.mp4", pictures(frames=3))
    assert len(list(open_video(path))) == 3
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "100")
    with pytest.raises(VideoError, match=rf"clip\.mp4.*{MAX_PIXELS_VARIABLE}="):
        open_video(path)


def test_a_number_of_frames_that_a_file_cannot_have_is_counted(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "clip.avi", pictures(frames=5)).read_bytes())
    for place in (content.index(b"avih") + 8 + 16, content.index(b"strh") + 8 + 32):
        struct.pack_into("<I", content, place, 2**31 - 1)
    (tmp_path / "clip.avi").write_bytes(content)
    assert len(open_video(tmp_path / "clip.avi")) == 5


# Archives


def test_a_member_that_declares_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    odd_zip(tmp_path / "shard.zip", "a.bin", size=2**32 - 2)
    with pytest.raises(DataError, match=rf"'a\.bin'.*4,294,967,294 bytes.*{MAX_BYTES_VARIABLE}=4294967294"):
        FileTree(tmp_path).read("a.bin")


def test_the_limit_of_bytes_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "shard.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", bytes(1001))
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "1000")
    with pytest.raises(DataError, match="more than 1,000"):
        FileTree(tmp_path).read("a.bin")
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "1001")
    assert FileTree(tmp_path).read("a.bin") == bytes(1001)


@pytest.mark.parametrize(("method", "flags"), [(None, 1), (99, 0), (97, 0), (14, 0), (12, 0), (None, 0x40)])
def test_members_that_are_encrypted_or_oddly_packed(tmp_path: Path, method: int | None, flags: int) -> None:
    odd_zip(tmp_path / "shard.zip", "a.bin", method=method, flags=flags)
    with pytest.raises(DataError, match=r"shard\.zip"):
        FileTree(tmp_path).read("a.bin")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    tree = FileTree(tmp_path)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DataError, match=r"a\.bin.*cannot be read"):
        tree.read("a.bin")


def npz(path: Path, **headers: tuple[int, ...]) -> Path:
    """Write an archive of arrays that declare shapes and hold ten bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in headers.items():
            text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
            archive.writestr(
                f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"x" * 10
            )
    return path


@pytest.mark.parametrize("shape", [(2**16, 2**16), (2**40,), (2**62, 2**62), (-1,)])
def test_proposals_that_declare_gigabytes_are_not_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = npz(tmp_path / "00000.npz", boxes=shape, scores=(1,))
    with pytest.raises(DataError, match=r"00000\.npz"):
        read_proposals(path)


def test_proposals_that_unpack_into_gigabytes_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"00000\.npz.*{MAX_BYTES_VARIABLE}"):
        read_proposals(odd_zip(tmp_path / "00000.npz", "boxes.npy", size=2**32 - 2))
    with pytest.raises(DataError, match=r"00000\.npz"):
        read_proposals(odd_zip(tmp_path / "00000.npz", "boxes.npy", flags=1))


# JSON


def write(path: Path, text: str = NESTED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def nested_safetensors(folder: Path) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(NESTED) + 5) + b'{"a":' + NESTED.encode())
    return path


def youtube_problem(folder: Path) -> None:
    problems = read_meta(FileTree(write(folder / "meta.json").parent))[1]
    raise DataError(str(problems[0]))


JSON_DOORS: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "report": (lambda place: EvaluationReport.from_json(write(place / "x.json")), EvaluationError, "x.json"),
    "meta.json of an evaluation": (lambda place: read_evaluation_meta(write(place / "x.json")), EvaluationError, "x."),
    "meta.json of training": (youtube_problem, DataError, "not JSON"),
    "run.json": (lambda place: changed_settings(write(place / "run.json"), {}), ValueError, "nested too deeply"),
    "proposals.json": (lambda place: read_index(write(place / "proposals.json").parent), DataError, "proposals"),
    "COCO": (lambda place: CocoInstances(place, write(place / "coco.json")), DataError, "coco.json"),
    "safetensors": (lambda place: TensorFile(nested_safetensors(place)), CheckpointError, "model.safetensors"),
}


@pytest.mark.parametrize("door", JSON_DOORS)
def test_nested_json_is_one_message(tmp_path: Path, door: str) -> None:
    read, error, words = JSON_DOORS[door]
    with pytest.raises(error, match=words):
        read(tmp_path)


def test_a_nested_note_of_a_checksum_is_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write(tmp_path / "file", "content")
    digest = remembered_sha256(path)
    from vos_zoo.weights.checksum import _note_path

    note = _note_path(path)
    assert note is not None
    write(note)
    assert remembered_sha256(path) == digest


# Instances of COCO


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "segmentation",
    [
        {"counts": "o" * (4 * 10**6), "size": [1000, 1000]},  # one number that never ends
        {"counts": "0" * 10**7, "size": [4, 5]},
        {"counts": [2**62] * 4 + [20], "size": [4, 5]},  # whose sum overflows into the right one
        {"counts": [10.5, 9.5], "size": [4, 5]},
        {"counts": ["20"], "size": [4, 5]},
        {"counts": [[20]], "size": [4, 5]},
        {"counts": [10**30], "size": [4, 5]},
        {"counts": [], "size": [4, 5]},
        {"counts": None, "size": [4, 5]},
        {"counts": "ä", "size": [4, 5]},
        {"counts": [20], "size": 20},
        [3],
        ["polygons"],
        [[0, 0, 1, 0, 1, "x"]],
        [[0, 0, 1, 0, 1, float("nan")]],
        [[0, 0, 1, 0, 1, 1e300]],
        None,
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_segmentation_that_is_none_is_one_message(segmentation: object) -> None:
    size = (1000, 1000) if isinstance(segmentation, dict) and segmentation["size"] == [1000, 1000] else (4, 5)
    with pytest.raises(DataError, match=r"coco\.json: one\.jpg"):
        decode_segmentation(segmentation, *size, name="coco.json: one.jpg")


@pytest.mark.parametrize(
    "changes",
    [
        {"images": [{"id": [], "file_name": "one.jpg", "height": 4, "width": 5}]},
        {"images": [{"id": 1, "file_name": 7, "height": 4, "width": 5}]},
        {"annotations": [{"image_id": {}, "segmentation": [[0] * 6]}]},
        {"annotations": [{"image_id": 1, "segmentation": [[0] * 6], "area": "large"}]},
    ],
    ids=str,
)
def test_coco_entries_of_other_types_are_one_message(tmp_path: Path, changes: dict[str, object]) -> None:
    content = {"images": [{"id": 1, "file_name": "one.jpg", "height": 4, "width": 5}], "annotations": []} | changes
    with pytest.raises(DataError, match=r"coco\.json"):
        CocoInstances(tmp_path, write(tmp_path / "coco.json", json.dumps(content)))


# Configurations


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: save_tiny(name, folder) for name in ("tsn", "stcn", "hs2s")}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tsn", {"pred_layers": 10**7}),
        ("tsn", {"pred_layers": 10**18}),
        ("tsn", {"pred_layers": 10**400}),
        ("tsn", {"head_depth": 10**7}),
        ("tsn", {"pred_ffn_factor": 10**7}),
        ("tsn", {"pred_heads": 0}),
        ("tsn", {"pred_heads": -2}),
        ("tsn", {"pred_ffn_factor": 0}),
        ("stcn", {"key_dim": 10**7}),
        ("stcn", {"decoder_dims": [10**6, 10**6, 10**6]}),
        ("stcn", {"backbone": ["resnet18"]}),
        ("hs2s", {"state_width": 10**7}),
    ],
    ids=str,
)
def test_a_configuration_of_a_huge_network_is_one_message(
    models: dict[str, Path], tmp_path: Path, name: str, changes: dict[str, object]
) -> None:
    folder = shutil.copytree(models[name], tmp_path / name)
    content = json.loads((folder / "config.json").read_text())
    content["config"].update(changes)
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises((ConfigError, CheckpointError), match=r"kernel predictor|config\.json|model\.safetensors"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("text", [NESTED, '{"config": {}, "format_version": ' + "[" * 900 + "]" * 900 + "}"])
def test_a_nested_configuration_is_one_message(models: dict[str, Path], tmp_path: Path, text: str) -> None:
    folder = shutil.copytree(models["stcn"], tmp_path / "stcn")
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_model(folder, device="cpu")


def test_values_of_any_depth_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models["stcn"], tmp_path / "stcn")
    content = (folder / "config.json").read_text().replace('"key_dim": 8', '"key_dim": ' + "[" * 900 + "]" * 900)
    (folder / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"key_dim is \[+\.\.\.\]+ \(list\)"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("changes", [{"pred_heads": 0}, {"pred_heads": -8}, {"pred_layers": 0}], ids=str)
def test_tsn_names_wrong_heads(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="kernel predictor"):
        TSNConfig(**changes)  # type: ignore[arg-type]
