"""The engine of one machine, with workers that need no network: what dies, fails or finds no space."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from testing.stub_worker import COMMAND
from vos_zoo.errors import ConfigError
from vos_zoo.scale.jobs import Job
from vos_zoo.scale.local import LocalEngine, usable_cores
from vos_zoo.scale.worker import RunSettings


def job(name):
    return Job(1, name, f"{name}.mp4", "", {})


@pytest.fixture
def engine(tmp_path):
    made = []

    def make(*, workers=1, command=COMMAND, **options):
        made.append(LocalEngine(RunSettings(str(tmp_path), "none", options), workers=workers, command=command))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(engine, is_enough):
    events = []
    deadline = time.monotonic() + 120
    while not is_enough(events):
        assert time.monotonic() < deadline, events
        events += engine.wait(1.0)
    return events


def ready(engine, workers=1):
    until(engine, lambda _: engine.room() == workers)
    return engine


def kinds(events):
    return [event.kind if event.outcome is None else event.outcome.kind for event in events if event.kind != "progress"]


def test_jobs_are_done_side_by_side(engine, tmp_path):
    two = ready(engine(workers=2), 2)
    two.submit(job("one"))
    two.submit(job("two"))
    assert two.room() == 0
    events = until(two, lambda events: len(kinds(events)) == 2)
    assert kinds(events) == ["finished", "finished"]
    assert sorted((tmp_path / "log.txt").read_text().split()) == ["one", "two"]
    assert two.room() == 2
    threads = {event.outcome.record["OMP_NUM_THREADS"] for event in events if event.outcome}
    assert threads == {os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // 2)))}


def test_a_worker_that_dies_is_replaced_and_its_job_is_lost(engine):
    one = ready(engine())
    one.submit(job("die"))
    (event,) = [event for event in until(one, kinds) if event.kind == "lost"]
    assert event.job.name == "die"
    assert event.text == f"its worker died with code {-signal.SIGKILL}"
    ready(one).submit(job("next"))
    assert kinds(until(one, kinds)) == ["finished"]


def test_a_worker_without_space_is_not_replaced(engine):
    one = ready(engine())
    one.submit(job("full"))
    assert kinds(until(one, kinds)) == ["full"]
    until(one, lambda _: not one.is_alive())
    assert one.room() == 0


def test_workers_end_with_the_engine(engine, tmp_path):
    one = ready(engine())
    one.submit(job("slow"))
    until(one, lambda events: any(event.kind == "progress" for event in events))
    pids = [process.pid for process in one._processes]
    one.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (tmp_path / "log.txt").exists()


def test_another_version_is_refused(engine):
    with pytest.raises(ConfigError, match=r"The worker on stub has vos_zoo 0\.0\.9"):
        ready(engine(version="0.0.9"))


def test_a_worker_that_cannot_begin_says_so(engine):
    with pytest.raises(ConfigError, match="ended with code 3 before it could begin"):
        ready(engine(command=(sys.executable, "-c", "raise SystemExit(3)")))


def test_a_model_that_is_not_there_is_one_error(tmp_path):
    one = LocalEngine(RunSettings(str(tmp_path), "no-such-model", {}), workers=1, device="cpu")
    try:
        with pytest.raises(ConfigError, match=r"No worker can start: .*no-such-model"):
            ready(one)
    finally:
        one.close()


@pytest.mark.parametrize(("chosen", "environment", "threads"), [(None, "4", 4), ("3", "3", None)])
def test_workers_share_out_the_cores_unless_the_user_has_chosen(tmp_path, monkeypatch, chosen, environment, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    monkeypatch.setattr("vos_zoo.scale.local.usable_cores", lambda: 16)
    one = LocalEngine(RunSettings(str(tmp_path), "none", {}), device="cpu", command=COMMAND)
    try:
        ready(one, 4)
        one.submit(job("one"))
        (event,) = [event for event in until(one, kinds) if event.outcome]
        assert event.outcome.record["OMP_NUM_THREADS"] == environment
        assert event.outcome.record["threads"] == threads
    finally:
        one.close()


@pytest.mark.parametrize(("workers", "visible", "seen"), [(None, None, "01"), (4, None, "0101"), (None, "5,3", "53")])
def test_every_gpu_has_a_worker_of_its_own(tmp_path, monkeypatch, workers, visible, seen):
    monkeypatch.setenv("STUB_GPUS", "2")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    one = LocalEngine(RunSettings(str(tmp_path), "none", {}), workers=workers, command=COMMAND)
    try:
        ready(one, len(seen))
        for number in range(len(seen)):
            one.submit(job(f"v{number}"))
        events = until(one, lambda events: len(kinds(events)) == len(seen))
    finally:
        one.close()
    found = [event.outcome.record["CUDA_VISIBLE_DEVICES"] for event in events if event.outcome]
    # The first one began before anybody knew of GPUs, and takes the first of those that it sees.
    expected = [None if visible is None else visible, *seen[1:]]
    assert sorted(map(str, found)) == sorted(map(str, expected))
