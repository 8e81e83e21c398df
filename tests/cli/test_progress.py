"""Long work speaks: bars, lines in log files, and JSON for programs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from vos_zoo import waiting
from vos_zoo.cli.main import main
from vos_zoo.cli.progress import progress_bar, report_event, terminal


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_every_few_seconds(capsys, clock):
    with progress_bar("frames") as show:
        for done in range(1, 31):
            clock[0] += 0.5
            show(done, 30)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "2 of 30 frames, 2.00 frames/s, 0:00:14 left"
    assert lines[1] == "12 of 30 frames, 2.00 frames/s, 0:00:09 left"
    assert lines[-1] == "30 of 30 frames, 2.00 frames/s"
    assert len(lines) == 4


def test_time_left_goes_by_the_last_minute(capsys, clock):
    with progress_bar("frames") as show:
        show(1000, 2000)  # frames of an earlier run, read in no time
        for done in range(1001, 1101):
            clock[0] += 1
            show(done, 2000)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "1.00 frames/s, 0:15:" in last


def test_json_lines_are_for_programs(capsys, clock):
    with terminal("json"):
        with progress_bar("frames") as show:
            for done in range(1, 4):
                clock[0] += 2
                show(done, 4)
        sys.stdout.write("for people\n")
        thread = threading.Thread(target=logging.getLogger("vos_zoo.some.part").info, args=("Loading %s", "rde"))
        thread.start()
        thread.join()
        report_event("end", exit_code=0)
    printed = capsys.readouterr()
    events = [json.loads(line) for line in printed.out.splitlines()]
    assert events[0] == {
        "event": "progress", "unit": "frames", "done": 1, "total": 4, "per_second": 0.5, "seconds_left": 6.0,
    }  # fmt: skip
    assert [event.get("done") for event in events] == [1, 2, 3, None, None]
    assert events[3] == {"event": "message", "level": "info", "text": "Loading rde"}
    assert events[4] == {"event": "end", "exit_code": 0}
    assert printed.err == "for people\n"


def test_what_the_library_logs_is_shown_while_a_command_runs(capsys):
    logger = logging.getLogger("vos_zoo.some.part")
    with terminal():
        logger.info("Downloading")
        logger.warning("of %s", "something")
        logger.debug("details")
    logger.info("nobody listens")
    assert capsys.readouterr().err == "Downloading\nof something\n"
    assert not logging.getLogger("vos_zoo").handlers


def words(clip, model, out, *more):
    command = ["segment", str(clip.frames), str(clip.first), "--out", str(out), "--model", str(model)]
    return [*command, "--device", "cpu", "--size", "32", *more]


def test_segment_writes_json_lines(capsys, small_clip, tiny_model, tmp_path):
    assert main(words(small_clip, tiny_model, tmp_path / "out", "--progress", "json")) == 0
    printed = capsys.readouterr()
    events = [json.loads(line) for line in printed.out.splitlines()]
    assert [event["done"] for event in events if event["event"] == "progress"][-1] == 8
    assert events[-1] == {"event": "end", "exit_code": 0}
    assert "8 masks with 1 object" in printed.err
    assert main(words(small_clip, tiny_model, tmp_path / "out", "--progress", "json")) == 2
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["error", "end"]
    assert "--resume" in events[0]["message"]


@pytest.mark.slow
def test_segment_speaks_in_a_log_file(small_clip, tiny_model, tmp_path):
    command = [sys.executable, "-m", "vos_zoo.cli.main", *words(small_clip, tiny_model, tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "8 of 8 frames, " in done.stderr
    assert " frames/s" in done.stderr


def test_a_reader_that_goes_away_stops_nothing(small_clip, tiny_model, tmp_path):
    command = [sys.executable, "-m", "vos_zoo.cli.main", *words(small_clip, tiny_model, tmp_path / "out")]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*command, "--progress", "json"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, len(list((tmp_path / "out").glob("*.png")))) == (0, 8), done.stderr
