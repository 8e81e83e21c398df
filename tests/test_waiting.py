from __future__ import annotations

import logging
import threading

from vos_zoo import waiting
from vos_zoo.waiting import Pace, announced

LOGGER = logging.getLogger("vos_zoo.test")


def test_what_takes_long_is_announced_while_it_runs(caplog, monkeypatch):
    said = threading.Event()
    monkeypatch.setattr(LOGGER, "info", lambda *message: LOGGER.warning(*message) or said.set())
    with announced(LOGGER, "Loading rde.small", after=0.0):
        assert said.wait(30)
    assert "Loading rde.small ..." in caplog.text


def test_what_is_quick_stays_silent(caplog):
    with caplog.at_level(logging.INFO), announced(LOGGER, "Loading rde.small", after=3600):
        pass
    assert not caplog.records


def test_progress_is_passed_on_now_and_then_and_at_the_end(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    reports = []
    pace = Pace(lambda *values: reports.append(values), every=5.0, first=1.0)
    for done in range(1, 21):
        now[0] += 0.5
        pace(done, 20)
    assert reports == [(2, 20, 2.0, 9.0), (12, 20, 2.0, 4.0), (20, 20, 2.0, 0.0)]
