"""What people hand in by mistake: every line is one command and the words its message must have.

Each mistake ends with exit code 2 and one message, never with a traceback, and leaves what was written before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from testing.clips import SmallClip
from testing.videos import clip as pictures
from testing.videos import write_video
from vos_zoo import VideoSession, load_model
from vos_zoo.cli.main import main
from vos_zoo.errors import OutOfMemoryError
from vos_zoo.media.masks import mask_ids, read_mask, write_mask
from vos_zoo.models.rde import RDENetwork


@dataclass
class Command:
    """A ``vos-zoo segment`` that would work, for a case to spoil."""

    clip: SmallClip
    model: str
    folder: Path
    video: Path = field(init=False)
    masks: Path = field(init=False)
    options: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.video, self.masks = self.clip.frames, self.clip.first

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def run(self) -> int:
        arguments = ["segment", str(self.video), str(self.masks), "--out", str(self.out), "--model", self.model]
        return main([*arguments, "--device", "cpu", "--size", "32", *self.options])

    def file(self, name: str, content: bytes = b"") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def mask(self, ids: np.ndarray, name: str = "mask.png") -> Path:
        write_mask(self.folder / name, ids)
        return self.folder / name

    def image(self, image: Image.Image, name: str = "mask.png") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        return path

    def model_copy(self) -> Path:
        shutil.copytree(self.model, self.folder / "model")
        self.model = str(self.folder / "model")
        return Path(self.model)


@pytest.fixture
def command(small_clip, tiny_model, tmp_path) -> Command:
    return Command(small_clip, str(tiny_model), tmp_path)


def square() -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 4:22] = 1
    return mask


def missing_video(command: Command) -> None:
    command.video = command.folder / "none.mp4"


def text_as_video(command: Command) -> None:
    command.video = command.file("notes.mp4", b"these are my notes\n" * 9)


def page_as_video(command: Command) -> None:
    command.video = command.file("clip.mp4", b"<!DOCTYPE html><html><title>404</title></html>")


def empty_video_file(command: Command) -> None:
    command.video = command.file("clip.mp4")


def image_as_video(command: Command) -> None:
    command.video = command.clip.frames / "00000.png"


def empty_folder(command: Command) -> None:
    command.video = command.folder / "empty"
    command.video.mkdir()


def folder_without_frames(command: Command) -> None:
    command.video = command.file("folder/readme.txt", b"x").parent


def video_without_index(command: Command) -> None:
    data = write_video(command.folder / "whole.mkv", pictures()).read_bytes()
    command.video = command.file("clip.mkv", data[:400])


def damaged_first_frame(command: Command) -> None:
    shutil.copytree(command.clip.frames, command.folder / "frames")
    command.video = command.folder / "frames"
    (command.video / "00000.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def start_behind_the_end(command: Command) -> None:
    command.options = ["--start", "100"]


def end_before_the_start(command: Command) -> None:
    command.options = ["--start", "5", "--end", "3"]


def every_zeroth(command: Command) -> None:
    command.options = ["--every", "0"]


def no_size(command: Command) -> None:
    command.options = ["--size", "0"]


def missing_mask(command: Command) -> None:
    command.masks = command.folder / "none.png"


def mask_of_another_size(command: Command) -> None:
    command.masks = command.mask(np.ones((24, 32), np.uint8))


def turned_mask(command: Command) -> None:
    command.masks = command.mask(square().T)


def picture_as_mask(command: Command) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    command.masks = command.image(Image.fromarray(picture))


def smoothed_mask(command: Command) -> None:
    command.masks = command.image(Image.fromarray(square() * 255).filter(ImageFilter.GaussianBlur(2)))


def jpeg_mask(command: Command) -> None:
    command.masks = command.image(Image.fromarray(square() * 255), "mask.jpg")


def text_as_mask(command: Command) -> None:
    command.masks = command.file("mask.png", b"not an image at all, sorry")


def cut_mask(command: Command) -> None:
    command.masks = command.file("mask.png", command.clip.first.read_bytes()[:60])


def empty_mask(command: Command) -> None:
    command.masks = command.mask(np.zeros((48, 64), np.uint8))


def masks_of_no_frame(command: Command) -> None:
    command.mask(square(), "given/frame_a.png")
    command.masks = command.folder / "given"


def mask_of_a_frame_left_out(command: Command) -> None:
    command.mask(square(), "given/00000.png")
    command.masks = command.folder / "given"
    command.options = ["--start", "2"]


def folder_without_masks(command: Command) -> None:
    command.masks = command.file("given/readme.txt", b"x").parent


def output_in_use(command: Command) -> None:
    command.file("out/precious.txt", b"mine")


def output_is_a_file(command: Command) -> None:
    command.file("out", b"mine")


def overlay_in_use(command: Command) -> None:
    command.options = ["--overlay", str(command.file("overlay.mp4", b"mine"))]


def overlay_of_unknown_kind(command: Command) -> None:
    command.options = ["--overlay", "video.gif"]


def unknown_model(command: Command) -> None:
    command.model = "rdee"


def model_without_weight(command: Command) -> None:
    command.model = "stm.r50"


def missing_model_folder(command: Command) -> None:
    command.model = "./no/such/folder"


def pickle_as_model(command: Command) -> None:
    torch.save({"a": torch.zeros(1)}, command.folder / "weights.pth")
    command.model = str(command.folder / "weights.pth")


def spoil_weights(change: Callable[[bytes], bytes]) -> Callable[[Command], None]:
    def spoil(command: Command) -> None:
        path = command.model_copy() / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def spoil_config(**changes: object) -> Callable[[Command], None]:
    def spoil(command: Command) -> None:
        path = command.model_copy() / "config.json"
        content = json.loads(path.read_text())
        content["config"].update(changes)
        path.write_text(json.dumps(content))

    return spoil


def config_that_is_no_json(command: Command) -> None:
    (command.model_copy() / "config.json").write_text("key_dim: 64")


def unknown_device(command: Command) -> None:
    command.options = ["--device", "gpu"]


MISTAKES = [
    (missing_video, ["There is no video", "none.mp4"]),
    (text_as_video, ["notes.mp4", "a text file", "not a video"]),
    (page_as_video, ["an HTML page", "not a video"]),
    (empty_video_file, ["an empty file"]),
    (image_as_video, ["a PNG image", "not a video"]),
    (empty_folder, ["has no frames", "empty"]),
    (folder_without_frames, ["has no frames", "readme.txt"]),
    (video_without_index, ["clip.mkv", "cannot be read"]),
    (damaged_first_frame, ["00000.png", "cannot be read"]),
    (start_behind_the_end, ["has 8 frames", "cannot start at frame 100"]),
    (end_before_the_start, ["5", "3", "end"]),
    (every_zeroth, ["every", "at least 1"]),
    (no_size, ["size", "0"]),
    (missing_mask, ["no mask file", "none.png"]),
    (mask_of_another_size, ["is 32x24", "64x48", "--resize-mask"]),
    (turned_mask, ["turned by 90 degrees"]),
    (picture_as_mask, ["colours", "looks like an image"]),
    (smoothed_mask, ["57 grey levels", "without smoothing"]),
    (jpeg_mask, ["JPEG"]),
    (text_as_mask, ["mask.png"]),
    (cut_mask, ["mask.png"]),
    (empty_mask, ["is empty", "at least one object"]),
    (masks_of_no_frame, ["match no frame", "frame_a"]),
    (mask_of_a_frame_left_out, ["00000", "that is segmented"]),
    (folder_without_masks, ["holds no masks"]),
    (output_in_use, ["precious.txt", "--overwrite", "--resume"]),
    (output_is_a_file, ["is a file"]),
    (overlay_in_use, ["overlay.mp4", "exists"]),
    (overlay_of_unknown_kind, ["video.gif", ".mp4"]),
    (unknown_model, ["Unknown model 'rdee'", "Did you mean 'rde"]),
    (model_without_weight, ["No published weight for STM", "vos-zoo convert"]),
    (missing_model_folder, ["./no/such/folder does not exist"]),
    (pickle_as_model, ["as torch.save writes it", "vos-zoo convert"]),
    (spoil_weights(lambda data: data[: len(data) // 2]), ["is cut off"]),
    (spoil_weights(lambda data: data[:50]), ["cut off"]),
    (spoil_weights(lambda data: b"<html>404</html>"), ["an HTML page"]),
    (spoil_weights(lambda data: data[:8] + b"[" + data[9:]), ["safetensors"]),
    (spoil_config(key_dimm=64), ["unknown key 'key_dimm'", "Did you mean 'key_dim'"]),
    (spoil_config(key_dim="64"), ["config.key_dim", "'64' (str)", "Expected int"]),
    (spoil_config(decoder_dims=[1, 2]), ["config.decoder_dims", "2 entries", "Expected 3"]),
    (spoil_config(value_dim=32), ["wrong shapes"]),
    (spoil_config(key_dim=-1), ["config.json", "that can be built"]),
    (spoil_config(backbone="resnet0"), ["resnet0"]),
    (config_that_is_no_json, ["is not JSON"]),
    (unknown_device, ["'gpu' is unknown", "cuda"]),
]


@pytest.mark.parametrize(
    ("spoil", "words"), MISTAKES, ids=[f"{spoil.__name__}-{words[0]}" for spoil, words in MISTAKES]
)
def test_a_mistake_gets_one_message(command, capsys, spoil, words):
    spoil(command)
    before = sorted(path for path in command.folder.rglob("*") if path.is_file())
    assert command.run() == 2
    message = capsys.readouterr().err
    assert message.startswith("vos-zoo: error: ")
    assert "Traceback" not in message
    for word in words:
        assert word in message
    after = {path for path in command.folder.rglob("*") if path.is_file()}
    assert set(before) <= after
    assert not list(command.out.glob("*.png"))


def test_a_truncated_video_keeps_the_frames_before_the_damage(command, capsys):
    whole = write_video(command.folder / "whole.mp4", pictures(frames=40))
    data = whole.read_bytes()
    command.video = command.file("cut.mp4", data[: int(0.7 * len(data))])
    assert command.run() == 2
    message = capsys.readouterr().err
    assert "cut short" in message
    written = sorted(path.stem for path in command.out.glob("*.png"))
    assert 0 < len(written) < 40
    assert written == [f"{index:05d}" for index in range(len(written))]
    assert f"{len(written)} of 40 masks are in {command.out}" in message


def test_a_mask_of_another_size_is_resampled_on_request(command):
    mask_of_another_size(command)
    command.options = ["--resize-mask"]
    assert command.run() == 0
    assert read_mask(command.out / "00000.png").shape == (48, 64)


def test_a_black_and_white_mask_is_one_object(command, capsys):
    command.masks = command.image(Image.fromarray(square() * 255))
    assert command.run() == 0
    assert "with 1 object" in capsys.readouterr().out
    assert mask_ids(read_mask(command.out / "00000.png", void=0)) == [1]


def test_ids_go_up_to_65535(command):
    ids = square().astype(np.int32)
    ids[ids == 1] = 65535
    ids[40:46, 40:60] = 256
    command.masks = command.mask(ids)
    assert command.run() == 0
    assert mask_ids(read_mask(command.out / "00000.png", void=0)) == [256, 65535]


def test_ids_may_have_gaps(command):
    ids = square() * 200
    ids[40:46, 40:60] = 3
    command.masks = command.mask(ids)
    assert command.run() == 0
    assert mask_ids(read_mask(command.out / "00000.png", void=0)) == [3, 200]


def test_one_pixel_is_an_object(command):
    ids = np.zeros((48, 64), np.uint8)
    ids[20, 30] = 1
    command.masks = command.mask(ids)
    assert command.run() == 0


def test_a_video_of_one_frame_is_a_video(command):
    command.options = ["--end", "1"]
    assert command.run() == 0
    assert [path.name for path in command.out.glob("*.png")] == ["00000.png"]


@pytest.fixture
def out_of_memory_at(monkeypatch):
    """Let the device run out of memory in the n-th frame that the network sees, once."""

    def arrange(frame: int) -> None:
        seen = 0
        encode = RDENetwork.encode

        def failing(self, image):
            nonlocal seen
            seen += 1
            if seen == frame + 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return encode(self, image)

        monkeypatch.setattr(RDENetwork, "encode", failing)

    return arrange


def test_out_of_memory_names_the_sizes_and_settings_that_would_fit(command, capsys, out_of_memory_at):
    out_of_memory_at(3)
    assert command.run() == 2
    message = capsys.readouterr().err
    for word in (
        "Out of memory on cpu at frame 3",
        "pixels",
        "1 objects",
        "frames in memory",
        "size=",
        "max_frames=",
        "bf16",
    ):
        assert word in message
    assert f"3 of 8 masks are in {command.out}; continue with `--resume`" in message
    command.options = ["--resume"]
    assert command.run() == 0
    assert len(list(command.out.glob("*.png"))) == 8


def test_a_session_stays_usable_after_it_ran_out_of_memory(command, out_of_memory_at):
    frames = [np.asarray(Image.open(path)) for path in sorted(command.clip.frames.iterdir())]
    model = load_model(command.model, device="cpu")
    expected = VideoSession(model, size=32)
    for index, frame in enumerate(frames):
        last = expected.step(frame, square() if index == 0 else None)

    out_of_memory_at(4)
    session = VideoSession(model, size=32)
    for index, frame in enumerate(frames):
        mask = square() if index == 0 else None
        if index == 4:
            with pytest.raises(OutOfMemoryError):
                session.step(frame, mask)
        result = session.step(frame, mask)
    np.testing.assert_array_equal(result.mask, last.mask)
