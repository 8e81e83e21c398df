from __future__ import annotations

import logging
import threading

from vos_zoo.waiting import announced

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
