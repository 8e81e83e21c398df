"""Lists of videos: every kind gives the same jobs, and every bad row is named before anything begins."""

from __future__ import annotations

import contextlib
import csv
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import ManifestError, MissingExtraError, MissingFileError, VosZooError
from vos_zoo.scale.manifest import open_list

ROWS = [
    {"video": "a/cat.mp4", "masks": "a/cat.png"},
    {"video": "/b/dog", "masks": "m/dog", "name": "rex", "frames": 30, "size": "256x448"},
    {"video": "s3://bucket/bird.mp4", "masks": "s3://bucket/bird.png", "every": 2, "overlay": True},
]


def write_csv(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows(rows)


def write_json_lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")


def write_parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = list(dict.fromkeys(name for row in rows for name in row))
    parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in names}), path)


WRITERS = {".csv": write_csv, ".jsonl": write_json_lines, ".parquet": write_parquet}


@pytest.mark.parametrize("suffix", WRITERS)
def test_tables_of_every_kind_give_the_same_jobs(tmp_path, suffix):
    path = tmp_path / f"list{suffix}"
    WRITERS[suffix](path, ROWS)
    videos = open_list(path)
    assert videos.check() == 3
    cat, dog, bird = videos
    assert (cat.row, cat.name, cat.video, cat.masks) == (
        1, "cat", str(tmp_path / "a" / "cat.mp4"), str(tmp_path / "a" / "cat.png"),
    )  # fmt: skip
    assert (dog.name, dog.video, dog.length, dog.options) == ("rex", "/b/dog", 30, {"size": (256, 448)})
    assert (bird.name, bird.video, bird.options) == ("bird", "s3://bucket/bird.mp4", {"every": 2, "overlay": True})
    assert list(videos) == [cat, dog, bird]  # again


def test_prompts_stand_for_masks_or_beside_them(tmp_path):
    rows = [{"video": "a.mp4", "prompts": "a.json"}, {"video": "b.mp4", "masks": "b.png", "prompts": "/p/b.json"}]
    write_csv(tmp_path / "list.csv", rows)
    first, second = open_list(tmp_path / "list.csv")
    assert (first.masks, first.prompts) == ("", str(tmp_path / "a.json"))
    assert (second.masks, second.prompts) == (str(tmp_path / "b.png"), "/p/b.json")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"masks": "x.png"}, "row 2 names no video: `video` is empty"),
        ({"video": "x.mp4"}, "row 2 names no masks"),
        ({"video": 7, "masks": "x.png"}, "row 2 names no video: `video` is 7"),
        ({"video": "other/cat.mp4", "masks": "x.png"}, "row 2 would write where row 1 does, to 'cat'"),
        ({"video": "x.mp4", "masks": "x.png", "colour": "red"}, "row 2 has 'colour', which is not an option"),
        ({"video": "x.mp4", "masks": "x.png", "size": "large"}, "row 2 has a wrong `size`: 'large' is not a size"),
        ({"video": "x.mp4", "masks": "x.png", "name": "../x"}, "row 2 has the name '../x'"),
        ({"video": "x.mp4", "masks": "x.png", "name": ".x"}, "row 2 has the name '.x'"),
        ({"video": "x.mp4", "masks": "x.png", "name": "x" * 201}, "row 2 has the name"),
        (["x.mp4", "x.png"], "row 2 is not a set of named values"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, said):
    write_json_lines(tmp_path / "list.jsonl", [ROWS[0], row])
    with pytest.raises(ManifestError) as caught:
        open_list(tmp_path / "list.jsonl").check()
    assert said in str(caught.value)
    assert "nothing was begun" in str(caught.value)


def test_many_bad_rows_are_counted(tmp_path):
    write_json_lines(tmp_path / "list.jsonl", [{"video": f"{n}.mp4"} for n in range(25)])
    with pytest.raises(ManifestError, match="… and 15 more"):
        open_list(tmp_path / "list.jsonl").check()


def test_broken_lines_are_named(tmp_path):
    (tmp_path / "list.jsonl").write_text('{"video": "a.mp4", "masks": "a.png"}\n{"video": \n')
    with pytest.raises(ManifestError, match="row 2 is not JSON"):
        open_list(tmp_path / "list.jsonl").check()
    (tmp_path / "list.csv").write_text("video,masks\na.mp4,a.png,b\n")
    with pytest.raises(ManifestError, match="row 1 has more values"):
        open_list(tmp_path / "list.csv").check()
    (tmp_path / "list.csv").write_bytes(b"video,masks\n\xff\xfe.mp4,a.png\n")
    with pytest.raises(ManifestError, match="row 1 cannot be read"):
        open_list(tmp_path / "list.csv").check()


@pytest.mark.parametrize("content", ["", "video,masks\n"])
def test_an_empty_table_is_refused(tmp_path, content):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(ManifestError, match="names no videos"):
        open_list(tmp_path / "list.csv").check()


def test_a_file_that_is_no_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "list.parquet").write_bytes(b"no table")
    with pytest.raises(ManifestError, match="not a Parquet file"):
        open_list(tmp_path / "list.parquet").check()


def test_without_pyarrow_there_is_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "list.parquet").write_bytes(b"no table")
    with pytest.raises(MissingExtraError, match=r"pip install 'vos-zoo\[cluster\]'"):
        open_list(tmp_path / "list.parquet").check()


@given(st.binary(max_size=80), st.sampled_from([".csv", ".jsonl"]))
def test_noise_is_refused_kindly(tmp_path_factory, noise, suffix):
    path = tmp_path_factory.mktemp("noise") / f"list{suffix}"
    path.write_bytes(noise)
    with contextlib.suppress(VosZooError):
        open_list(path).check()


@pytest.fixture
def clips(tmp_path):
    for name in ("clip2.mp4", "clip10.MOV", "clip1.mp4", "notes.txt", ".hidden.mp4", "clip1.png", "clip2.png"):
        (tmp_path / name).write_bytes(b"x" * 50_000)
    return tmp_path


def test_a_folder_gives_its_videos_in_natural_order(clips):
    jobs = list(open_list(clips))
    assert [(job.row, job.name) for job in jobs] == [(1, "clip1"), (2, "clip2"), (3, "clip10")]
    assert [job.masks for job in jobs] == [str(clips / f"{job.name}.png") for job in jobs]  # the last one is missing
    assert all(job.length == 2 for job in jobs)


def test_a_pattern_and_a_folder_of_masks(clips):
    (clips / "given" / "clip2").mkdir(parents=True)
    (clips / "given" / "clip1.png").touch()
    jobs = list(open_list(clips / "clip*.mp4", clips / "given"))
    assert [(job.name, job.masks) for job in jobs] == [
        ("clip1", str(clips / "given" / "clip1.png")),
        ("clip2", str(clips / "given" / "clip2")),
    ]


def test_the_layout_of_own_data(tmp_path):
    (tmp_path / "videos" / "cat").mkdir(parents=True)
    (tmp_path / "videos" / "cat" / "0.png").touch()
    (tmp_path / "videos" / "dog.mp4").touch()
    (tmp_path / "masks" / "cat").mkdir(parents=True)
    (tmp_path / "masks" / "dog.png").touch()
    assert [(job.name, job.masks) for job in open_list(tmp_path)] == [
        ("cat", str(tmp_path / "masks" / "cat")),
        ("dog", str(tmp_path / "masks" / "dog.png")),
    ]


def test_results_beside_the_clips_are_no_masks_for_them(tmp_path):
    """As `segment-many clips --out masks` leaves them."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "dog.mp4").touch()
    (tmp_path / "masks" / "dog").mkdir(parents=True)
    for source in (tmp_path / "clips", tmp_path / "clips" / "*.mp4"):
        assert [job.masks for job in open_list(source)] == [str(tmp_path / "clips" / "dog.png")]


def test_what_is_no_list_is_refused(clips):
    with pytest.raises(ManifestError, match="is a single file"):
        open_list(clips / "clip1.mp4")
    with pytest.raises(MissingFileError, match="There is nothing at"):
        open_list(clips / "none*.mp4")
    with pytest.raises(MissingFileError, match="There is nothing at"):
        open_list(clips / "none.csv")
    with pytest.raises(MissingFileError, match="no folder of masks"):
        open_list(clips, clips / "none")
    write_csv(clips / "list.csv", ROWS)
    with pytest.raises(ManifestError, match="Leave the folder of masks out"):
        open_list(clips / "list.csv", clips)
