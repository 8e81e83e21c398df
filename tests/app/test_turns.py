"""The line that visitors wait in."""

from __future__ import annotations

import threading

import pytest

from vos_zoo.app.turns import Turns
from vos_zoo.errors import LimitError

PATIENCE = 60  # seconds; a test that waits so long has failed


class Job:
    """Runs until it is told to end, and notes its name."""

    def __init__(self, name, done):
        self.name, self.done = name, done
        self.begun, self.may_end, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        self.done.append(self.name)
        self.ended.set()


def test_jobs_run_one_at_a_time_in_the_order_they_came():
    turns, done = Turns(waiting=2), []
    jobs = [Job(name, done) for name in "abc"]
    taken = [turns.take(job) for job in jobs]
    assert jobs[0].begun.wait(PATIENCE)
    assert [turn.ahead for turn in taken] == [0, 1, 2]
    assert not jobs[1].begun.is_set()
    for job in reversed(jobs):
        job.may_end.set()
    assert jobs[2].ended.wait(PATIENCE)
    assert done == ["a", "b", "c"]


def test_a_full_line_refuses_and_has_room_again_when_somebody_leaves():
    turns, done = Turns(waiting=1), []
    first, second, third = (Job(name, done) for name in "abc")
    running = turns.take(first)
    waiting = turns.take(second)
    with pytest.raises(LimitError, match=r"taken \(1\)"):
        turns.take(third)
    assert not running.leave()  # it is its turn
    assert waiting.leave()
    assert not waiting.leave()
    last = turns.take(third)
    assert last.ahead == 1
    for job in (first, third):
        job.may_end.set()
    assert third.ended.wait(PATIENCE)
    assert done == ["a", "c"]
    assert not second.begun.is_set()
