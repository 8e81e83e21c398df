from __future__ import annotations

import json

import pytest

from testing.checkpoints import save_tiny
from testing.data_roots import davis_root
from vos_zoo.cli.main import main
from vos_zoo.files import folder_lock
from vos_zoo.reproduction.tables import long_video_figures, paper_tables


@pytest.fixture
def root(tmp_path, small_clip):
    return davis_root(tmp_path / "root", small_clip, names=("one",))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "reproduction"


def command(table, root, model, *more):
    settings = ["--size", "32", "--device", "cpu", "--processes", "1"]
    return ["reproduce", table, "--data", str(root), "--weights", str(model), *settings, *more]


def test_the_tables_and_their_rows_are_listed(capsys):
    assert main(["reproduce", "--list"]) == 0
    printed = capsys.readouterr().out
    assert "rde.table5: What RDE-VOS reads" in printed
    assert "rde.figure3: " in printed
    # Every row says what may run in it.
    rows = [row for table in (*paper_tables().values(), *long_video_figures().values()) for row in table.rows]
    assert printed.count("  runs with ") == len(rows)
    assert "runs with rde.small (a stand-in on resnet18 for the paper's resnet50) or a weight of rde with" in printed
    assert "runs with a weight that is named for it (full=FOLDER): training without BL30K" in printed
    assert main(["reproduce", "--list", "hs2s.table5"]) == 0
    assert "hs2s-sim   HS2S_sim: J 64.35, F 69.35, J&F 66.9" in capsys.readouterr().out


def test_a_table_is_run_compared_and_kept(capsys, root, place, tiny_model, monkeypatch):
    arguments = command("rde.table5", root, tiny_model, "--rows", "first", "latest")
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "rde.table5: " in printed
    assert "  paper " in printed
    assert "71.6" in printed
    folder = place / "rde.table5"
    assert {path.name for path in folder.iterdir()} == {"first", "latest", "table.json", "table.md", "table.png"}
    first = json.loads((folder / "table.json").read_text())
    assert [row["status"] for row in first["rows"]] == ["measured", "measured"]
    assert first["is_papers_data"]

    import vos_zoo.reproduction.reproduce as library

    monkeypatch.setattr(library, "configure", None)  # nothing may run again
    assert main(arguments) == 0
    assert json.loads((folder / "table.json").read_text()) == first
    assert main([*arguments, "--size", "48"]) == 2
    assert "size 32, now 48" in capsys.readouterr().err


def test_rows_without_a_weight_are_named_with_their_training(capsys, root, place, tiny_model):
    rows = ("--rows", "full", "no-guidance")
    assert main(command("rde.table6", root, tiny_model, *rows)) == 2
    assert "fits no row: for full, the row needs training without BL30K" in capsys.readouterr().err
    assert main(command("rde.table6", root, f"full={tiny_model}", *rows)) == 0
    printed = capsys.readouterr().out
    assert "needs training without BL30K and without the unbiased guidance loss" in printed
    assert "no_guidance --data.root ROOT, and give it as --weights no-guidance=FOLDER" in printed


def test_giels_figure_1_tells_videos_apart_by_their_objects(capsys, root, place, tmp_path):
    weight = save_tiny("giel", tmp_path)
    assert main(command("giel.figure1", root, weight, "--rows", "full")) == 0
    printed = capsys.readouterr().out
    assert "J&F 2 objects" in printed
    (row,) = json.loads((place / "giel.figure1" / "table.json").read_text())["rows"]
    assert {measure for measure in row["measured"] if "object" in measure} == {"J&F 2 objects", "frames/s 2 objects"}
    assert "a stand-in on test_resnet for the paper's resnet50" in printed


def test_rows_about_proposals_run_with_their_own(capsys, root, place, tmp_path):
    weight = save_tiny("dmn_aoa", tmp_path)
    videos = str(root / "JPEGImages" / "480p" / "one")
    masks = str(root / "Annotations" / "480p" / "one")
    assert (
        main(["proposals", videos, masks, "--model", str(weight), "--size", "32", "--out", "d2", "--device", "cpu"])
        == 0
    )
    arguments = command("dmn_aoa.table3", root, f"d1,d2={weight}", "--rows", "d1", "d2")
    capsys.readouterr()
    assert main([*arguments, "--proposals", "d2=d2"]) == 0
    printed = capsys.readouterr().out
    assert "D1 proposals tuned on DAVIS: needs proposals of a detector tuned on DAVIS" in printed
    assert "as --weights d1=FOLDER and its proposals as --proposals d1=FOLDER" in printed
    rows = json.loads((place / "dmn_aoa.table3" / "table.json").read_text())["rows"]
    assert [row["status"] for row in rows] == ["no weight", "measured"]
    assert main([*arguments, "--proposals", "f9=d2"]) == 2
    assert "meant for the row 'f9'" in capsys.readouterr().err


def test_the_long_video_is_run_compared_and_kept(capsys, root, place, tiny_model, monkeypatch):
    arguments = command("rde.figure3", root, tiny_model, "--video", "one", "--lengths", "1", "3")
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("RDE-VOS") >= 2
    folder = place / "rde.figure3"
    content = json.loads((folder / "table.json").read_text())
    assert [point["frames"] for point in content["rows"][0]["points"]] == [8, 24]
    assert (folder / "table.png").is_file()

    import vos_zoo.reproduction.reproduce as library

    monkeypatch.setattr(library, "configure", None)
    assert main(arguments) == 0
    assert json.loads((folder / "table.json").read_text()) == content
    assert main([*arguments[:-1], "4"]) == 2
    assert "other settings (lengths)" in capsys.readouterr().err


def test_an_interruption_says_what_is_kept(capsys, root, place, tiny_model, monkeypatch):
    import vos_zoo.reproduction.reproduce as library

    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "configure", stop)
    assert main(command("rde.table5", root, tiny_model, "--rows", "first")) == 130
    assert "finished videos are kept in reproduction/rde.table5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce"], "vos-zoo reproduce --list"),
        (["reproduce", "rde.table5"], "A table and a data root are needed"),
        (["reproduce", "rde.tabel5", "--data", "."], "rde.table5"),
        (["reproduce", "rde.table5", "--data", ".", "--video", "cows"], "--video is for long-video figures"),
        (["reproduce", "rde.figure3", "--data", ".", "--set", "val"], "--set is for tables"),
        (["reproduce", "rde.figure3", "--data", "."], "lacks the video 'cows'"),
        (["reproduce", "rde.table5", "--data", ".", "--proposals", "p"], "no row takes any"),
    ],
)
def test_wrong_arguments_are_explained(capsys, place, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_nothing_of_others_is_replaced(capsys, root, place, tiny_model, tmp_path):
    row = command("rde.table5", root, tiny_model, "--rows", "first")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert main([*row, "--out", str(root), "--overwrite"]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    for name in ("table.md", "first/masks/one/00000.png"):
        mine = tmp_path / name.replace("/", "-") / name
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
        assert main([*row, "--out", str(tmp_path / name.replace("/", "-"))]) == 2
        assert "`--overwrite`" in capsys.readouterr().err
        assert mine.read_text() == "mine"


def test_a_second_run_into_a_folder_is_refused(capsys, root, place, tiny_model):
    with folder_lock(place / "rde.table5"):
        assert main(command("rde.table5", root, tiny_model, "--rows", "first")) == 2
    assert "Another run is writing into" in capsys.readouterr().err
    assert list((place / "rde.table5").iterdir()) == []
