from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import vos_zoo
from vos_zoo.cli import main as cli
from vos_zoo.cli import segment
from vos_zoo.cli.main import build_parser, main
from vos_zoo.demo import demo_clip
from vos_zoo.errors import VideoError
from vos_zoo.inference import cuda_graphs

# A file of the commands' package is a command if it says what it is for; one that the program forgot fails below.
COMMANDS = sorted(
    path.stem.removesuffix("_command").replace("_", "-")
    for path in Path(cli.__file__).parent.glob("*.py")
    if re.search(r"^SUMMARY = ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
)


def test_every_command_is_known_to_the_program():
    assert sorted(cli._COMMANDS) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"vos-zoo {command}" in capsys.readouterr().out


def test_the_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    ([\w-]+)(?: |$)", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(listed) == COMMANDS


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"vos-zoo {vos_zoo.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["segments"], ["segment"], ["list", "--jsn"]])
def test_wrong_words_end_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: vos-zoo" in capsys.readouterr().err


def fail(error):
    def run(arguments):
        raise error

    return run


def test_our_errors_become_one_message(monkeypatch, capsys):
    monkeypatch.setattr(cli.list_command, "run", fail(VideoError("Video broken. Copy it again.")))
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "vos-zoo: error: Video broken. Copy it again.\n"
    with pytest.raises(VideoError):
        main(["list", "--debug"])


def test_other_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr(cli.list_command, "run", fail(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_an_interruption_ends_with_130(monkeypatch, capsys):
    monkeypatch.setattr(cli.list_command, "run", fail(KeyboardInterrupt()))
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "vos-zoo: stopped.\n"
    with pytest.raises(KeyboardInterrupt):
        main(["list", "--debug"])


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m vos_zoo.cli.main list --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[", "")


def test_the_list_is_a_table_or_json(capsys):
    assert main(["list"]) == 0
    table = capsys.readouterr().out
    assert "RDE-VOS, CVPR 2022" in table
    assert main(["list", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list(vos_zoo.registry.ARCHITECTURES)
    assert main(["list", "--weights"]) == 0
    assert capsys.readouterr().out.startswith("WEIGHT")
    assert main(["list", "--weights", "--json"]) == 0
    assert {entry["name"] for entry in json.loads(capsys.readouterr().out)} == set(vos_zoo.registry.WEIGHTS)


def test_ablations_are_listed_with_their_commands(capsys):
    assert main(["list", "--ablations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("  S2S*"))
    assert "J 59.1" in row
    stage, overlay = "hs2s/video", "hs2s/ablations/s2s_star"
    assert row.endswith(f"lightning fit --config {stage} --config {overlay} --data.root ROOT")
    assert any(line.endswith("vos-zoo reproduce rde.table5 --data ROOT --rows first-latest") for line in lines)
    assert main(["list", "--ablations", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {entry["table"] for entry in entries} >= {"rde.table5", "tsn.table3", "giel.table1", "dmn_aoa.table3"}


def test_the_doctor_finds_everything(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("torch ", "PyAV", "auto means", "Memory read", "Bundled weights", "Everything works."):
        assert word in printed


def test_the_doctor_reports_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(cli.doctor, "_PACKAGES", ("torch", "no-such-package"))
    assert main(["doctor"]) == 1
    assert "no-such-package is not installed" in capsys.readouterr().out


def test_the_doctor_says_whether_devices_have_graphs(monkeypatch, capsys):
    properties = SimpleNamespace(name="Some GPU", total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # nothing else of the command may use them
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(cuda_graphs, "why_no_graphs", lambda device: "driver too old" if device.index else None)
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "cuda:0: Some GPU, 24.0 GiB, CUDA graphs work" in printed
    assert "cuda:1: Some GPU, 24.0 GiB, no CUDA graphs (driver too old)" in printed


def test_segment_writes_masks_and_says_where(capsys, small_clip, tiny_model, tmp_path):
    arguments = ["segment", str(small_clip.frames), str(small_clip.first), "--out", str(tmp_path / "out")]
    arguments += ["--model", str(tiny_model), "--device", "cpu", "--size", "32", "--overlay"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"8 masks with 1 object in {tmp_path / 'out'}" in printed
    assert f"Overlay video in {tmp_path / 'out' / 'overlay.mp4'}" in printed
    assert "frames/s on cpu" in printed
    assert len(list((tmp_path / "out").glob("*.png"))) == 8

    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert "8 masks with 1 object" in capsys.readouterr().out


def test_an_interrupted_segment_says_what_is_kept(monkeypatch, capsys, small_clip, tiny_model, tmp_path):
    import vos_zoo.segmentation.video as library

    original = library.segment_video

    def interrupted(*arguments, progress, **options):
        def stop(done, total):
            progress(done, total)
            if done == 3:
                raise KeyboardInterrupt

        return original(*arguments, progress=stop, **options)

    monkeypatch.setattr(library, "segment_video", interrupted)
    arguments = ["segment", str(small_clip.frames), str(small_clip.first), "--out", str(tmp_path / "out")]
    arguments += ["--model", str(tiny_model), "--device", "cpu", "--size", "32"]
    assert main(arguments) == segment.EXIT_INTERRUPTED == 130
    assert f"3 of 8 masks are in {tmp_path / 'out'}; continue with `--resume`" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_evaluate_prints_a_table_and_writes_files(capsys, small_clip, tmp_path):
    files = ["--json", str(tmp_path / "report.json"), "--csv", str(tmp_path / "tables")]
    arguments = ["evaluate", str(small_clip.masks), str(small_clip.masks), "--processes", "1", *files]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "100.0" in printed
    assert json.loads((tmp_path / "report.json").read_text())["overall"]["j_and_f"] == 1.0
    assert len(list((tmp_path / "tables").glob("*.csv"))) == 2

    assert main(arguments) == 2
    assert "global_results-all.csv exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def test_demo_shows_everything(capsys, tiny_model, tmp_path):
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--model", str(tiny_model), "--device", "cpu", "--size", "48", "--end", "4"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for word in ("frames/s on cpu", "Peak memory:", "CC BY 3.0", "overlay.mp4", "contact_sheet.png"):
        assert word in printed
    assert len(list((out / "masks").glob("*.png"))) == 4
    assert (out / "overlay.mp4").stat().st_size > 0
    assert (out / "contact_sheet.png").stat().st_size > 0
    for file in (demo_clip().video, demo_clip().first_mask):
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert main(arguments) == 0  # a second time is no mistake


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("xmem", b"", ["Cannot convert files of 'xmem'", "rde"]),
        ("rde", b"<!DOCTYPE html><html>404</html>", ["an HTML page"]),
        ("stcn", b"", ["empty"]),
    ],
)
def test_convert_names_what_it_cannot_read(capsys, tmp_path, kind, content, words):
    (tmp_path / "weights.pth").write_bytes(content)
    arguments = ["convert", "--from", kind, str(tmp_path / "weights.pth"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert not (tmp_path / "out").exists()


def test_convert_says_how_to_use_the_result(monkeypatch, capsys, tmp_path):
    import vos_zoo.models.conversion as library

    monkeypatch.setattr(library, "convert_file", lambda kind, file, out, accept_missing: out)
    assert main(["convert", "--from", "rde", "weights.pth", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f"Wrote {tmp_path / 'out'}" in printed
    assert f"--model {tmp_path / 'out'}" in printed


def test_a_demo_that_never_began_is_in_nobodys_way(capsys, tiny_model, tmp_path):
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--device", "cpu", "--size", "48", "--end", "2"]
    assert main([*arguments, "--model", "no such model"]) == 2
    assert main([*arguments, "--model", str(tiny_model)]) == 0


def test_the_demo_replaces_no_files_of_others(capsys, tiny_model, tmp_path):
    mine = tmp_path / "mine" / "masks" / "00000.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    arguments = ["demo", "--out", str(tmp_path / "mine"), "--model", str(tiny_model), "--device", "cpu", "--end", "2"]
    assert main(arguments) == 2
    assert "holds no results of `vos-zoo demo`" in capsys.readouterr().err
    (mine.parent / "run.json").write_text('{"settings": {"video": "another clip"}}')
    assert main(arguments) == 2
    assert mine.read_text() == "mine"


def test_paths_of_all_commands_know_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    arguments = build_parser().parse_args(["evaluate", "~/masks", "~/true", "--json", "~/scores.json"])
    assert (arguments.results, arguments.json) == (tmp_path / "masks", tmp_path / "scores.json")
