"""Every command that writes, without room to write: one message, nothing half-written, what is finished kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl

from testing.clips import SmallClip
from testing.limits import file_size_limit
from testing.original import state
from vos_zoo.cli.main import main
from vos_zoo.interchange.export_formats import EXPORT_FORMATS
from vos_zoo.models.rde import RDEModule

Arguments = Callable[[SmallClip, Path, Path], list[str]]


def segment(clip: SmallClip, model: Path, out: Path) -> list[str]:
    return [
        *("segment", str(clip.frames), str(clip.first), "--out", str(out)),
        *("--model", str(model), "--size", "32", "--device", "cpu"),
    ]


def overlay(clip: SmallClip, model: Path, out: Path) -> list[str]:
    return [*segment(clip, model, out), "--overlay"]


def evaluate(*options: str) -> Arguments:
    def arguments(clip: SmallClip, model: Path, out: Path) -> list[str]:
        folder = ["evaluate", str(clip.masks), str(clip.masks), "--processes", "1"]
        return [*folder, *(str(out / "report.json") if word == "OUT" else word for word in options)]

    return arguments


def proposals(clip: SmallClip, model: Path, out: Path) -> list[str]:
    video = ["proposals", str(clip.frames), str(clip.first), "--out", str(out)]
    return [*video, "--model", str(model), "--size", "32", "--device", "cpu"]


def export(clip: SmallClip, model: Path, out: Path) -> list[str]:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(RDEModule("tiny"))
    trainer.save_checkpoint(out.parent / "last.ckpt")
    return ["export", str(out.parent / "last.ckpt"), "--out", str(out)]


COMMANDS = {
    "segment": (segment, 60),
    "segment with overlay": (overlay, 700),
    "evaluate to JSON": (evaluate("--json", "OUT"), 60),
    "evaluate to CSV": (evaluate("--csv", "OUT"), 20),
    "proposals": (proposals, 60),
    "export": (export, 60),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_message(
    name: str, small_clip: SmallClip, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, size = COMMANDS[name]
    words = arguments(small_clip, tiny_model, tmp_path / "out")
    with file_size_limit(size):
        code = main(words)
    message = capsys.readouterr().err
    assert code == 2, message
    assert "no space is left on the disk" in message
    assert "Traceback" not in message
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in left if path.name.startswith(".") and path.suffix == ".part"]
    assert main([*words, "--overwrite"] if "export" not in name else [*words[:-1], str(tmp_path / "again")]) == 0


@pytest.mark.parametrize("name", ["segment", "segment with overlay"])
def test_the_file_that_was_asked_for_is_named(
    name: str,
    small_clip: SmallClip,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, size = COMMANDS[name]
    with file_size_limit(size):
        assert main(arguments(small_clip, tiny_model, Path("out"))) == 2
    message = capsys.readouterr().err
    assert "no space is left on the disk at out/" in message
    assert ".part" not in message


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_an_export_of_masks_to_a_full_disk(
    kind: str, small_clip: SmallClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffixes = EXPORT_FORMATS[kind].suffixes
    out = tmp_path / "new" / f"out{suffixes[0] if suffixes else ''}"
    words = ["export-masks", str(small_clip.masks), "--to", kind, "--out", str(out), "--video", str(small_clip.frames)]
    with file_size_limit(40):
        code = main(words)
    message = capsys.readouterr().err
    assert code == 2, message
    assert "no space is left on the disk" in message
    assert ".part" not in message
    assert not list((tmp_path / "new").iterdir())
    assert main(words) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [["list"], ["list", "--weights", "--json"], ["list", "--ablations"]])
def test_output_that_goes_to_a_full_disk(words: list[str]) -> None:
    code = "import sys; from vos_zoo.cli.main import main; sys.exit(main())"
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=os.environ | {"PYTHONPATH": search_path},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 2
    assert result.stderr.startswith("vos-zoo: error: no space is left on the disk")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_conversion_to_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    torch.save(state.random_state_dict("stcn", 0), tmp_path / "stcn.pth")
    with file_size_limit(2**20):
        assert main(["convert", "--from", "stcn", str(tmp_path / "stcn.pth"), "--out", str(tmp_path / "out")]) == 2
    assert "no space is left on the disk" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "stcn.pth").unlink()
