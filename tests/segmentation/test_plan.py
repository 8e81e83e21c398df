"""A user's own files are never replaced, whatever is allowed to be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testing.clips import FRAMES
from testing.videos import clip, write_video
from vos_zoo.cli.main import main
from vos_zoo.errors import OutputExistsError
from vos_zoo.media.masks import write_mask
from vos_zoo.segmentation.video import segment_video


@pytest.fixture
def place(small_clip, tmp_path, monkeypatch):
    """A working directory with frames, given masks named like frames, and a video with its mask."""
    shutil.copytree(small_clip.frames, tmp_path / "frames")
    shutil.copytree(small_clip.given, tmp_path / "given")
    frames = clip()
    write_video(tmp_path / "clip.mp4", frames)
    height, width = frames[0].shape[:2]
    mask = frames[0][..., 0] * 0
    mask[height // 4 : height // 2, width // 4 : width // 2] = 1
    write_mask(tmp_path / "00000.png", mask)
    (tmp_path / "link").symlink_to("given")
    if not (tmp_path / "Clip.MP4").exists():  # what a system shows where upper and lower case are one
        os.link(tmp_path / "clip.mp4", tmp_path / "Clip.MP4")
        (tmp_path / "FRAMES").symlink_to("frames")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


#: Arguments of ``segment`` whose results would land on what it reads.
CLASHES = {
    "masks into the given masks": ["frames", "given", "--out", "given"],
    "masks into the frames": ["frames", "given", "--out", "frames"],
    "masks into the frames, by another way": ["frames", "given", "--out", "given/../frames"],
    "masks into the frames, in other letters": ["frames", "given", "--out", "FRAMES"],
    "masks into the given masks, by a link": ["frames", "given", "--out", "link"],
    "masks given by a link": ["frames", "link", "--out", "given"],
    "masks over the one given mask": ["clip.mp4", "00000.png", "--out", "."],
    "overlay over the video": ["clip.mp4", "00000.png", "--out", "out", "--overlay", "clip.mp4"],
    "overlay over the video in other letters": ["clip.mp4", "00000.png", "--out", "out", "--overlay", "Clip.MP4"],
    "views into the frames": ["frames", "given", "--out", ".", "--show", "frames"],
}


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--resume"]], ids=["plainly", "overwrite", "resume"])
@pytest.mark.parametrize("case", CLASHES)
def test_segment_replaces_no_input(place, tiny_model, capsys, case, more):
    before = contents(place)
    assert main(["segment", *CLASHES[case], *more, "--model", str(tiny_model), "--device", "cpu", "--size", "32"]) == 2
    assert contents(place) == before
    assert "is an input of this command" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["frames", "given"])
def test_the_function_replaces_no_input_either(place, tiny_model, out):
    before = contents(place)
    with pytest.raises(OutputExistsError, match="is an input"):
        segment_video("frames", "given", out=out, model=tiny_model, device="cpu", size=32, overwrite=True)
    assert contents(place) == before


def test_weights_are_an_input_too(place, tiny_model):
    shutil.copytree(tiny_model, "weights")
    before = contents(place)
    with pytest.raises(OutputExistsError, match="is an input"):
        segment_video("frames", "given", out="weights", model="weights", device="cpu", size=32, overwrite=True)
    assert contents(place) == before


def test_results_may_lie_beside_and_below_inputs(place, tiny_model):
    options = {"model": tiny_model, "device": "cpu", "size": 32}
    assert segment_video("frames", "given", out="frames/masks", **options).frames == FRAMES
    again = segment_video("frames", "given", out="frames/masks", **options, overwrite=True)
    assert again.segmented == FRAMES
    assert segment_video("clip.mp4", "00000.png", out="out", overlay="new.mp4", **options).overlay == Path("new.mp4")


#: Places that take no results: argument lists behind ``--out``, and words of the message.
UNWRITABLE = {
    "below a file": (["clip.mp4/masks"], "refused a file at clip.mp4/masks: Not a directory"),
    "a file": (["Clip.MP4"], "is a file where an output folder was expected"),
    "a system's folder": (["/proc/masks"], "/proc/masks"),
    "overlay below a file": (["out", "--overlay", "00000.png/o.mp4"], "refused a file at 00000.png: File exists"),
    "overlay is a folder": (["out", "--overlay", "folder.mp4"], "folder.mp4"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_where_nothing_can_be_written_one_message_says_so(place, tiny_model, capsys, case):
    (place / "folder.mp4").mkdir()
    arguments, words = UNWRITABLE[case]
    command = ["segment", "frames", "given", "--out", *arguments, "--model", str(tiny_model), "--device", "cpu"]
    assert main([*command, "--size", "32"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert words in errors[0]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="a limit of file sizes stands for the full disk")
def test_a_full_disk_keeps_what_is_complete(place, tiny_model):
    script = (
        "import resource, sys; from vos_zoo.cli.main import main; import vos_zoo.segmentation.video;"
        "from vos_zoo.media import writer; write = writer.MaskWriter.write\n"
        "def full(self, name, mask):\n"
        "    if name == '00003': resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "    return write(self, name, mask)\n"
        "writer.MaskWriter.write = full; sys.exit(main())"
    )
    command = ["segment", "frames", "given", "--out", "out", "--model", str(tiny_model), "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", script, *command, "--size", "32"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "3 of 8 masks are in out; continue with `--resume`" in done.stderr
    assert "no space is left on the disk at out/00003.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
        "objects.csv",
        "run.json",
    ]
    assert main([*command, "--size", "32", "--resume"]) == 0
