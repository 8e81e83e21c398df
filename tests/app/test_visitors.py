"""Several visitors at once, against the running page, without a browser."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

from testing.videos import clip, write_video

FRAMES = 12
LIMIT = 2.0  # seconds of tracking at a time

SERVER = """
import sys, time
from pathlib import Path
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.page import build_page
from vos_zoo.app.serve import import_gradio
from vos_zoo.app.store import ProjectStore
from vos_zoo.prompts import Brush

import_gradio()
video, model, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
store = ProjectStore(AppLimits(waiting=2, running_seconds=seconds), device="cpu")
keys = [store.create(video, "clip.mp4") for _ in range(5)]
for key in keys:
    store.get(key).edit(0, Brush(1, [(20.5, 16.5)], 6))

from vos_zoo.inference.session import VideoSession
step = VideoSession.step
def slow(*arguments, **options):  # so that others come while it runs
    time.sleep(0.3)
    return step(*arguments, **options)
VideoSession.step = slow

page = build_page(store, model=model)
page.launch(prevent_thread_lock=True, quiet=True, share=False)
print(page.server_port, *keys, flush=True)
input()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    """Port of a page with five projects, and their keys."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("the extra `app` is not installed")
    place = tmp_path_factory.mktemp("visitors")
    video = write_video(place / "clip.mp4", clip(FRAMES))
    words = [sys.executable, "-c", SERVER, str(video), str(tiny_model), str(LIMIT)]
    log, environment = place / "log.txt", {**os.environ, "TMPDIR": str(place)}
    with (
        log.open("w") as file,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, env=environment
        ) as process,
    ):
        try:
            port, *keys = process.stdout.readline().split() or [None]
            assert port, log.read_text()
            yield int(port), keys
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.communicate("\n", timeout=60)
    assert not list(place.glob("vos-zoo-app-*"))


class Visitor:
    """A browser's tab, as the server sees it."""

    def __init__(self, port, key, model):
        self.port, self.key, self.session = port, key, f"session{key}"
        config = self._read("config")
        (track,) = (entry["id"] for entry in config["dependencies"] if entry["api_name"] == "track")
        (self.editor,) = (entry["id"] for entry in config["components"] if entry["props"].get("elem_id") == "vz-editor")
        data = [key, model, "Forwards", "As the model was made for"]
        self._read("gradio_api/queue/join", {"data": data, "fn_index": track, "session_hash": self.session})
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.connection.request("GET", f"/gradio_api/queue/data?session_hash={self.session}")
        self.stream = self.connection.getresponse()
        self.value = {}

    def _read(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait(self, is_so):
        """Read news until one is what is expected."""
        for line in self.stream:
            if not line.startswith(b"data: "):
                continue
            message = json.loads(line[6:])
            assert message["msg"] not in ("unexpected_error", "close_stream"), message
            if message["msg"] in ("process_generating", "process_completed"):
                (news,) = message["output"]["data"] or [None]
                self._take(news)
                if is_so(self.value):
                    return self.value
        raise AssertionError(f"the server said no more than {self.value}")

    def _take(self, news):
        """Take news, which come whole or, for dictionaries, as what is different."""
        if isinstance(news, dict):
            self.value = news
            return
        for action, path, value in news or []:
            if not path:
                self.value = value
            elif action == "delete":
                del self.value[path[0]]
            else:
                self.value[path[0]] = value

    def leave(self):
        self.stream.close()
        self.connection.close()

    def state(self):
        body = {
            "data": {"key": self.key, "action": "state"},
            "session_hash": self.session,
            "component_id": self.editor,
            "fn_name": "call",
        }
        return self._read("gradio_api/component_server", body)


def test_five_visitors_of_whom_three_have_room(server, tiny_model):
    port, keys = server
    first = Visitor(port, keys[0], str(tiny_model))
    first.wait(lambda news: news["kind"] == "tracking" and news["done"] >= 1)
    second = Visitor(port, keys[1], str(tiny_model))
    second.wait(lambda news: news.get("ahead") == 1)
    third = Visitor(port, keys[2], str(tiny_model))
    third.wait(lambda news: news.get("ahead") == 2)
    for key in keys[3:]:
        refused = Visitor(port, key, str(tiny_model)).wait(lambda news: news["kind"] == "error")
        assert "all places in the line are taken (2)" in refused["message"]

    first.leave()  # in mid-run
    second.wait(lambda news: news["done"] >= 1)
    assert not first.state()["running"]
    assert 0 < len(first.state()["finished"]) < FRAMES
    assert third.wait(lambda news: True)["ahead"] == 1

    late = second.wait(lambda news: news["kind"] == "end")
    assert "time that one visitor may take" in late["message"]
    assert 0 < len(second.state()["finished"]) < FRAMES
    third.wait(lambda news: news["done"] >= 1)
    third.leave()
    for _ in range(600):
        if not third.state()["running"]:
            break
        time.sleep(0.05)
    again = Visitor(port, keys[3], str(tiny_model))  # there is room again
    again.wait(lambda news: news["kind"] == "tracking" and news["done"] >= 1)
    again.leave()
