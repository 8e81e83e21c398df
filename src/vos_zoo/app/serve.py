"""Serving the page on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vos_zoo.app.limits import AppLimits
from vos_zoo.app.store import ProjectStore
from vos_zoo.errors import MissingExtraError

if TYPE_CHECKING:
    import gradio

__all__ = ["import_gradio", "make_page", "serve"]


def import_gradio() -> Any:
    """Import Gradio so that it stays silent and off the network.

    Raises:
        MissingExtraError: If it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # which keeps inputs in the browser, keys of projects among them
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        with _without_interface_files():
            import gradio
    except ImportError as error:
        raise MissingExtraError(
            f'The page needs Gradio, which cannot be imported ({error}). Install it with `pip install "vos-zoo[app]"`.'
        ) from error
    return gradio


class _ComponentMeta(MetaPathFinder):
    """Finds ``gradio.component_meta``, without the function that writes interface files."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == "gradio.component_meta" else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                module.create_or_modify_pyi = lambda *arguments: None  # type: ignore[attr-defined]

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _without_interface_files() -> Iterator[None]:
    """Keep Gradio from writing interface files for editors.

    For every class of a component, Gradio parses its source and writes a ``.pyi`` file beside it, again on each import.
    That is half the time of the import, and nothing that a server should do to an installed package.
    """
    finder = _ComponentMeta()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def make_page(
    limits: AppLimits | None = None, *, model: str = "rde", device: str | None = None
) -> tuple[gradio.Blocks, dict[str, Any]]:
    """Build the page, and what ``launch`` has to be called with.

    Args:
        limits: Limits of the server; None for the usual ones.
        model: Model that is chosen at first.
        device: Where models run.

    Returns:
        The page, and arguments of its method ``launch``.

    Raises:
        MissingExtraError: If Gradio is not installed.
    """
    store = ProjectStore(limits or AppLimits(), device=device)
    # Files of Gradio go where the projects are, and with them. It reads this when it is imported, too.
    os.environ["GRADIO_TEMP_DIR"] = str(store.folder / "files")
    gr = import_gradio()
    from vos_zoo.app.page import build_page, page_file

    fonts = ["system-ui", "sans-serif"]  # of the visitor's system: nothing is fetched from elsewhere
    theme = gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    # Gradio's own greys and orange are too pale to be seen and read by everybody.
    theme.set(
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        **{f"button_primary_background_fill{part}": "*primary_700" for part in ("", "_dark")},
        **{f"button_primary_background_fill_hover{part}": "*primary_800" for part in ("", "_dark")},
    )
    options = {
        "theme": theme,
        "max_file_size": store.limits.upload_bytes,
        "css": page_file("page.css"),
        "footer_links": [],
        "ssr_mode": False,
        "enable_monitoring": False,
        # Gradio would ask itself for the page, and give up on a machine that is too busy to answer in three seconds.
        "_frontend": False,
    }
    return build_page(store, model=model), options


def serve(
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    share: bool = False,
    open_browser: bool = True,
    model: str = "rde",
    device: str | None = None,
    limits: AppLimits | None = None,
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        port: Port; None takes the first free one from 7860 on.
        host: Address to listen on; only this machine reaches 127.0.0.1.
        share: Whether Gradio makes a public address.
        open_browser: Whether the page is opened in a browser.
        model: Model that is chosen at first.
        device: Where models run.
        limits: Limits of the server; None for the usual ones.

    Raises:
        MissingExtraError: If Gradio is not installed.
        OSError: If the port is taken.
    """
    # A server is ended by SIGTERM as well as by Ctrl-C, and must leave no files behind then.
    signal.signal(signal.SIGTERM, _leave)
    page, options = make_page(limits, model=model, device=device)
    page.launch(server_name=host, server_port=port, share=share, inbrowser=open_browser, **options)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)
