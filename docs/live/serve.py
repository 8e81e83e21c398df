"""Serve the page on this machine: ``python docs/live/serve.py``, with the headers that threads in browsers need."""

from __future__ import annotations

import argparse
import functools
import http.server
import sys
from pathlib import Path

BUILT = Path(__file__).parent / "built"

#: What a server sends so that browsers let a page share memory between threads.
HEADERS = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


def open_server(folder: Path, port: int = 0, *, isolated: bool = True) -> http.server.ThreadingHTTPServer:
    """Open a server on the loopback address; ``serve_forever`` runs it.

    Args:
        folder: What ``build.py`` wrote.
        port: Where it listens; 0 takes a free one.
        isolated: Whether it sends :data:`HEADERS`.
    """
    handler = _IsolatedHandler if isolated else _Handler
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(handler, directory=str(folder)))


class _Handler(http.server.SimpleHTTPRequestHandler):
    def guess_type(self, path: str) -> str:  # type: ignore[override]
        # Browsers take modules under this type only, which not every system knows.
        return "text/javascript" if path.endswith((".js", ".mjs")) else super().guess_type(path)

    def log_message(self, *words: object) -> None:
        """Stay silent."""


class _IsolatedHandler(_Handler):
    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()


def main() -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve the page that follows objects in a browser, on this machine.")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=BUILT, help="what build.py wrote (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default: %(default)s)")
    options = parser.parse_args()
    if not (options.folder / "index.html").is_file():
        print(f"serve: {options.folder} holds no page. Build it with `python docs/live/build.py`.", file=sys.stderr)
        return 1
    with open_server(options.folder, options.port) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
