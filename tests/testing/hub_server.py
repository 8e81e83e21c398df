"""A Hugging Face Hub on this machine: enough of its HTTP interface for the real client, with faults on demand.

Repositories live in memory. Large files go through Git LFS as on the Hub: announced by ``preupload``, uploaded by the
batch interface, and downloaded through a redirect. See https://huggingface.co/docs/hub/api and
https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

WRITER = "hf_writer"
READER = "hf_reader"
GUEST = "hf_guest"  # a valid token without access to anything private or gated

# Tasks of the Hub that could be meant by somebody who publishes a model for videos.
PIPELINE_TAGS = {"image-segmentation", "mask-generation", "object-detection", "video-classification", "video-to-video"}


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # files by name, oldest commit first
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str | None:
        return next(reversed(self.commits), None)

    def find(self, revision: str) -> str | None:
        if revision == "main":
            return self.head
        return self.tags.get(revision) or (revision if revision in self.commits else None)

    def commit(self, files: dict[str, bytes]) -> str:
        content = {**(self.commits[self.head] if self.head else {}), **files}
        described = f"{len(self.commits)}" + "".join(f"{name}{sha256(data)}" for name, data in sorted(content.items()))
        revision = hashlib.sha1(described.encode()).hexdigest()
        self.commits[revision] = content
        return revision


@dataclass
class Faults:
    """What goes wrong: names of files, or parts of paths with the status that they are answered with."""

    corrupt: set[str] = field(default_factory=set)  # one byte of the file differs from what was announced
    short: set[str] = field(default_factory=set)  # half of the file is sent as if it were all
    breaks: set[str] = field(default_factory=set)  # the connection breaks after half of the file, once
    status: dict[str, int] = field(default_factory=dict)
    is_no_hub: bool = False  # files come without the headers of a Hub


class LoopbackHub:
    """The server; use it as a context manager.

    Attributes:
        url: What to set ``HF_ENDPOINT`` to.
        store_url: Where large files are.
        repositories: By ``owner/name``.
        faults: What goes wrong.
        requests: Method and path of every request, in order.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.blobs: dict[str, bytes] = {}  # uploaded large files by their sha256

        class Handler(_Handler):
            hub = self

        # Two servers, since the client follows redirects within the Hub, but takes large files from another host; some
        # releases compare only the names of hosts.
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in self._servers
        ]
        ports = [server.server_address[1] for server in self._servers]
        self.url, self.store_url = f"http://127.0.0.1:{ports[0]}", f"http://localhost:{ports[1]}"

    def __enter__(self) -> LoopbackHub:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()

    def add(self, repo_id: str, folder: Path | None = None, **options: Any) -> str:
        """Add a repository with the files of a folder and return its commit."""
        repository = self.repositories[repo_id] = Repository(**options)
        files = {} if folder is None else {path.name: path.read_bytes() for path in folder.iterdir()}
        return repository.commit({".gitattributes": b"*.safetensors filter=lfs\n", **files})

    def environment(self, home: Path, *, token: str | None = None) -> dict[str, str]:
        """Return the environment variables by which a new process uses this Hub and a cache of its own."""
        variables = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_DISABLE_XET": "1",  # the Hub's other protocol for large files has a server of its own
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
            "XDG_CACHE_HOME": str(home / "cache"),
        }
        return variables | ({} if token is None else {"HF_TOKEN": token})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith(".safetensors")


def card_errors(text: str) -> list[str]:
    """Check a model card's metadata as the Hub does."""
    match = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    if match is None:
        return []
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    errors = []
    if data.get("pipeline_tag") not in PIPELINE_TAGS | {None}:
        errors.append(f'"pipeline_tag" must be one of {sorted(PIPELINE_TAGS)}')
    if data.get("license") == "other" and not re.fullmatch(r"[a-z0-9-.]+", data.get("license_name", "")):
        errors.append('"license_name" must be an identifier')
    for name in data.get("datasets", []):
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            errors.append(f'"datasets" has {name!r}, which is not an identifier')
    for model in data.get("model-index", []):
        if not model.get("name"):
            errors.append('"model-index[0].name" is required')
        for result in model["results"]:
            for part, keys in (("task", ("type",)), ("dataset", ("type", "name"))):
                errors += [f'"{part}.{key}" is required' for key in keys if not result[part].get(key)]
            for metric in result["metrics"]:
                errors += [f'"metrics.{key}" is required' for key in ("type", "value") if key not in metric]
    return errors


class _RefusedError(Exception):
    def __init__(self, status: int, code: str | None = None, message: str = "") -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        body = self._read_body()
        try:
            for part, status in self.hub.faults.status.items():
                if part in path:
                    raise _RefusedError(status, message="on purpose")
            self._route(path, body)
        except _RefusedError as refusal:
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._send(refusal.status, {"error": refusal.message}, headers)

    def _route(self, path: str, body: bytes) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if token not in {None, WRITER, READER, GUEST}:
            raise _RefusedError(401, None, "Invalid credentials in Authorization header")
        routes = (
            (r"POST /api/repos/create", self._create),
            (r"POST /api/validate-yaml", self._validate),
            (r"PUT /lfs/(?P<digest>\w+)", self._store),
            (r"(?:GET|HEAD) /lfs/(?P<digest>\w+)/(?P<name>[^/]+)", self._large_file),
            (r"POST /(?P<repo_id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"POST /api/models/(?P<repo_id>[^/]+/[^/]+)/preupload/(?P<revision>.+)", self._preupload),
            (r"POST /api/models/(?P<repo_id>[^/]+/[^/]+)/commit/(?P<revision>.+)", self._commit),
            (r"GET /api/models/(?P<repo_id>[^/]+/[^/]+?)(?:/revision/(?P<revision>.+))?", self._info),
            (r"(?:GET|HEAD) /(?P<repo_id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)", self._resolve),
        )
        for pattern, handle in routes:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match is not None:
                handle(token=token, body=body, **match.groupdict())
                return
        raise _RefusedError(404, None, f"no such address: {path}")

    def _find(self, repo_id: str, token: str | None, *, writing: bool = False, content: bool = False) -> Repository:
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and token not in {WRITER, READER}):
            raise _RefusedError(401 if token is None else 404, "RepoNotFound", "Repository not found")
        if content and repository.gated and token not in {WRITER, READER}:
            raise _RefusedError(401 if token is None else 403, "GatedRepo", "Access to this model is restricted")
        if writing and token != WRITER:
            raise _RefusedError(401 if token is None else 403, None, "you need the right to write")
        return repository

    def _create(self, token: str | None, body: bytes) -> None:
        if token is None:
            raise _RefusedError(401, None, "Invalid username or password.")
        if token != WRITER:
            raise _RefusedError(403, None, "you may not create repositories here")
        wanted = json.loads(body)
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        url = {"url": f"{self.hub.url}/{repo_id}"}
        if repo_id in self.hub.repositories:
            self._send(409, url | {"error": "You already created this model repo"})
            return
        # 1.x says `private`, 2.x says `visibility`.
        self.hub.add(repo_id, private=bool(wanted.get("private")) or wanted.get("visibility") == "private")
        self._send(200, url)

    def _validate(self, token: str | None, body: bytes) -> None:
        errors = card_errors(json.loads(body)["content"])
        described = {"errors": [{"message": message} for message in errors], "warnings": []}
        self._send(400 if errors else 200, described)

    def _info(self, token: str | None, body: bytes, repo_id: str, revision: str | None) -> None:
        repository = self._find(repo_id, token)
        commit = repository.find(revision or "main")
        if commit is None:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        names = [{"rfilename": name} for name in repository.commits[commit]]
        facts = {"private": repository.private, "gated": "manual" if repository.gated else False}
        self._send(200, {"id": repo_id, "modelId": repo_id, "sha": commit, "siblings": names, "tags": [], **facts})

    def _preupload(self, token: str | None, body: bytes, repo_id: str, revision: str) -> None:
        self._find(repo_id, token, writing=True)
        files = json.loads(body)["files"]
        modes = [
            {"path": file["path"], "uploadMode": "lfs" if is_large(file["path"]) else "regular", "shouldIgnore": False}
            for file in files
        ]
        self._send(200, {"files": modes})

    def _batch(self, token: str | None, body: bytes, repo_id: str) -> None:
        self._find(repo_id, token, writing=True)
        objects = []
        for wanted in json.loads(body)["objects"]:
            stored = wanted["oid"] in self.hub.blobs
            upload = {} if stored else {"actions": {"upload": {"href": f"{self.hub.store_url}/lfs/{wanted['oid']}"}}}
            objects.append({"oid": wanted["oid"], "size": wanted["size"], **upload})
        self._send(200, {"transfer": "basic", "objects": objects})

    def _store(self, token: str | None, body: bytes, digest: str) -> None:
        if sha256(body) != digest:
            raise _RefusedError(400, None, "the upload does not have the announced checksum")
        self.hub.blobs[digest] = body
        self._send(200, {})

    def _commit(self, token: str | None, body: bytes, repo_id: str, revision: str) -> None:
        repository = self._find(repo_id, token, writing=True)
        files: dict[str, bytes] = {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header" and value.get("parentCommit", repository.head) != repository.head:
                raise _RefusedError(412, None, "the branch has moved on")
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        commit = repository.commit(files)
        url = f"{self.hub.url}/{repo_id}/commit/{commit}"
        self._send(200, {"success": True, "commitOid": commit, "commitUrl": url, "pullRequestUrl": None})

    def _resolve(self, token: str | None, body: bytes, repo_id: str, revision: str, name: str) -> None:
        repository = self._find(repo_id, token, content=True)
        commit = repository.find(revision)
        if commit is None:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        content = repository.commits[commit].get(name)
        if content is None:
            headers = {"X-Repo-Commit": commit, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            self._send(404, {"error": "Entry not found"}, headers)
            return
        headers = {"Accept-Ranges": "bytes"} | ({} if self.hub.faults.is_no_hub else {"X-Repo-Commit": commit})
        if not is_large(name):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._send(200, content, headers | {"ETag": f'"{etag}"'})
            return
        self.hub.blobs[sha256(content)] = content
        links = {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        place = {"Location": f"{self.hub.store_url}/lfs/{sha256(content)}/{name}"}
        self._send(302, b"", headers | links | place)

    def _large_file(self, token: str | None, body: bytes, digest: str, name: str) -> None:
        content, faults = self.hub.blobs[digest], self.hub.faults
        if name in faults.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if name in faults.short:
            content = content[: len(content) // 2]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted is None:
            cut = name in faults.breaks
            faults.breaks.discard(name)
            self._send(200, content, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}, cut=cut)
            return
        start = int(wanted[1])
        self.hub.ranges.append(self.headers["Range"])
        self._send(206, content[start:], {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"})

    def _read_body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(
        self, status: int, content: bytes | dict[str, Any], headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True
