"""The table of objects survives whatever ends a run, and says which objects look lost."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.clips import FRAMES
from vos_zoo import segment_frames, segment_video
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.inference.confidence import ObjectState
from vos_zoo.media.masks import read_mask
from vos_zoo.models.load import load_model
from vos_zoo.segmentation.confidence import OBJECTS_FILE, ObjectRow, ObjectTable, flag_all, flag_lost, read_objects


def state(object_id=1, area=100, probability=0.95, margin=0.9):
    if not area:
        return ObjectState(object_id, 0, None, None, 0.0, 0.0)
    return ObjectState(object_id, area, (1, 2, 30, 40), (10.5, 20.25), probability, margin)


def rows(areas, given=(), probability=0.95, **options):
    return [
        ObjectRow(number, f"{number:05d}", state(area=area, probability=probability, **options), number in given)
        for number, area in enumerate(areas)
    ]


def lost(series):
    return [row.frame for row in flag_lost(series) if row.is_lost]


def test_an_object_without_pixels_and_one_that_collapses_look_lost():
    assert lost(rows([100, 90, 80, 0, 0, 85], given={0})) == [3, 4]
    assert lost(rows([100, 100, 100, 10, 100], given={0})) == [3]
    assert lost(rows([100 - 5 * number for number in range(19)], given={0})) == []  # it goes away slowly


def test_what_the_model_doubts_looks_lost():
    assert lost(rows([100] * 3, given={0}, probability=0.3)) == [1, 2]
    assert lost(rows([100] * 3, given={0}, probability=0.99)) == []


def test_what_was_given_is_not_lost():
    assert lost(rows([100, 0, 100], given={0, 1})) == []
    assert lost(rows([1000, 100, 100, 100], given={0, 1})) == []  # its size was corrected


def test_frames_before_the_first_mask_are_seen_backwards():
    assert lost(rows([5, 90, 95, 100, 90], given={3})) == [0]
    assert lost(rows([100, 90, 95, 5, 6], given={3})) == []


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.sets(st.integers(0, 29)))
def test_flags_keep_everything_else(areas, marks):
    series = rows(areas, given=marks)
    flagged = flag_lost(series)
    assert [replace(row, is_lost=False) for row in flagged] == series
    assert all(row.is_lost for row in flagged if not row.state.area and not row.is_given)


def test_a_table_is_read_as_it_was_written(tmp_path):
    with ObjectTable(tmp_path) as table:
        table.write(3, "00003", [state(7), state(300, area=0)], given=[7])
        table.write(2, "00002", [state(7, area=5)], given=[])
        during = read_objects(tmp_path / OBJECTS_FILE)
    after = read_objects(tmp_path / OBJECTS_FILE)
    assert during == after
    assert [(row.frame, row.state.object_id, row.is_given, row.is_lost) for row in after] == [
        (2, 7, False, True),
        (3, 7, True, False),
        (3, 300, False, True),
    ]
    assert after[1].state == state(7)
    with (tmp_path / OBJECTS_FILE).open(newline="") as file:
        stored = list(csv.DictReader(file))
    assert [row["is_lost"] for row in stored] == ["1", "0", "1"]
    assert stored[2]["x"] == stored[2]["left"] == ""


def test_a_resumed_table_replaces_the_frames_that_come_again(tmp_path):
    def stopped():
        with ObjectTable(tmp_path) as table:
            table.write(0, "00000", [state(1), state(2)], given=[1, 2])
            table.write(1, "00001", [state(1)], given=[])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stopped()
    with ObjectTable(tmp_path, resume=True) as table:
        table.write(1, "00001", [state(2, area=70)], given=[])
    assert [(row.frame, row.state.object_id) for row in read_objects(tmp_path / OBJECTS_FILE)] == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    with ObjectTable(tmp_path):
        pass
    assert read_objects(tmp_path / OBJECTS_FILE) == []


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "GOOD\n1,x,y\n", "GOOD\n1,00001,1,5,,,,,,,0.5,0.5,0,0\n"])
def test_a_damaged_table_is_named(tmp_path, content):
    with ObjectTable(tmp_path):
        pass
    head = (tmp_path / OBJECTS_FILE).read_text().strip()
    (tmp_path / OBJECTS_FILE).write_text(content.replace("GOOD", head))
    with pytest.raises(ConfigError, match=r"objects\.csv` is damaged"):
        read_objects(tmp_path / OBJECTS_FILE)
    with pytest.raises(MissingFileError, match="vos-zoo segment"):
        read_objects(tmp_path / "other" / OBJECTS_FILE)


def test_runs_write_what_results_say(small_clip, tiny_model, tmp_path):
    model = load_model(tiny_model, device="cpu")
    out = tmp_path / "out"
    for direction in ("forward", "both"):
        segment_video(
            small_clip.frames, small_clip.given, out=out, model=model, size=32, direction=direction, overwrite=True
        )
        table = {(row.name, row.state.object_id): row for row in read_objects(out / OBJECTS_FILE)}
        results = list(segment_frames(small_clip.frames, small_clip.given, model=model, size=32, direction=direction))
        assert len(table) == sum(len(result.object_ids) for result in results)
        for result in results:
            mask = read_mask(out / f"{result.name}.png", void=0)
            for one in result.objects:
                row = table[result.name, one.object_id]
                assert (row.frame, row.state.area) == (result.index, np.count_nonzero(mask == one.object_id))
                assert row.state.probability == pytest.approx(one.probability, abs=1e-4)
                assert row.is_given == (
                    result.index in (0, 3) and one.object_id in ({1} if result.index == 0 else {1, 7})
                )
    assert flag_all(table.values()) == sorted(table.values(), key=lambda row: (row.frame, row.state.object_id))
    assert FRAMES == 8
