"""A bucket of a server on this machine."""

from __future__ import annotations

import urllib.request

import pytest

BUCKET = "s3://clips-of-tests"


@pytest.fixture
def bucket(monkeypatch):
    """The address of an empty bucket; the server and what it holds end with the test."""
    moto_server = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What it holds belongs to this process rather than to the server.
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    with urllib.request.urlopen(reset):
        pass
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir(BUCKET.removeprefix("s3://"))
    yield BUCKET
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
