"""A worker without a network for Ray's actors; see ``stub_worker``."""

from __future__ import annotations

import dataclasses

from testing.stub_worker import StubWorker


def make_stub(run, device, threads):
    return StubWorker({"run": dataclasses.asdict(run)})
