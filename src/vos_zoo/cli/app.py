"""``vos-zoo app``: a web page to point at objects, track them, correct, and download."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse

SUMMARY = "Serve a web page to point at an object and get its masks."

_logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--port", type=int, metavar="N", help="port (default: the first free one from 7860 on)")
    parser.add_argument(
        "--model", default="rde", metavar="NAME", help="model that is chosen at first, a name of `vos-zoo list`"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--share",
        choices=("never", "public"),
        default="never",
        help="never (default): only this machine reaches the page; public: Gradio makes a public address",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in a browser")
    parser.add_argument(
        "--space", type=Path, metavar="DIR", help="write the folder of a Hugging Face Space instead of serving"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve, or write a Space."""
    if arguments.space is not None:
        from vos_zoo.app.space import write_space

        for path in write_space(arguments.space, model=arguments.model):
            print(path)
        return 0
    with announced(_logger, "Loading Gradio"):
        from vos_zoo.app.serve import serve

    serve(
        port=arguments.port,
        share=arguments.share == "public",
        open_browser=not arguments.no_browser,
        model=arguments.model,
        device=arguments.device,
    )
    return 0
