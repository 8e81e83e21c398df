"""The page: what Gradio shows, and which function of a project answers what."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.app.downloads import DOWNLOADS, make_download
from vos_zoo.demo import demo_clip
from vos_zoo.errors import LimitError, MissingFileError, UsageError, VosZooError, is_out_of_memory
from vos_zoo.files import parse_json
from vos_zoo.prompts.json_form import prompts_from_json
from vos_zoo.registry import list_models

if TYPE_CHECKING:
    import gradio

    from vos_zoo.app.project import AppProject
    from vos_zoo.app.store import ProjectStore
    from vos_zoo.segmentation.project import ProjectSettings

__all__ = ["answer", "build_page", "page_file"]

_NO_PROJECT = "Choose a video first."
_SIZES = {"Model default": "native", "360 pixels": 360, "240 pixels (fast)": 240}
_DIRECTIONS = {"Both ways": "both", "Forwards": "forward", "Backwards": "backward"}
_OPENED_AT_A_TIME = 4  # videos; each takes a processor
_NEWS_EVERY = 0.25  # seconds

# What a tab keeps over a reload.
_KEEP = "(...values) => { sessionStorage.setItem('vos-zoo-fields', JSON.stringify(values)); }"
_RESTORE = "() => ['vos-zoo-project', 'vos-zoo-fields'].map((name) => sessionStorage.getItem(name) || '')"

# Gradio's own line is full, or a function fails in a way that it does not foresee: what was waited for does not come.
_FAILED = "() => { window.vosZoo.fail(); }"

# Parts of the page come in any order, and tell the editor once it is there.
_TELL = """
const tell = () => (window.vosZoo ? window.vosZoo.news(props.value) : setTimeout(tell, 50));
watch('value', tell);
"""
_REVIEW = """
const tell = () => (window.vosZoo ? window.vosZoo.review(element) : setTimeout(tell, 50));
tell();
"""


def build_page(store: ProjectStore, *, model: str = "rde") -> gradio.Blocks:
    """Build the page.

    Args:
        store: Keeps the visitors' projects.
        model: Model that is chosen at first.

    Returns:
        The page, ready to be launched; see :func:`vos_zoo.app.serve.serve`.
    """
    import gradio as gr

    def upload(path: str | None, key: str) -> Iterator[tuple[str, dict[str, Any], None]]:
        for shown, news in _open_upload(store, path, key):
            yield shown, news, None

    def example(key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        clip = demo_clip()
        yield from _open(store, clip.video, clip.video.name, key)

    def restore(key: str, fields: str) -> list[Any]:
        store.warm_up(model)
        values = [
            value if value in choices else gr.skip() for value, choices in zip(_fields(fields), offered, strict=True)
        ]
        try:
            store.get(key)
        except VosZooError:
            return ["", {}, *values]
        return [key, _news("project", key=key), *values]

    def track(key: str, name: str, direction: str, size: str) -> Iterator[dict[str, Any]]:
        from vos_zoo.segmentation.project import ProjectSettings  # loads PyTorch

        settings = ProjectSettings(model=name, direction=_DIRECTIONS[direction], size=_SIZES[size])  # type: ignore[arg-type]
        yield from _track(store, key, settings)

    def download(key: str, kind: str) -> tuple[Any, dict[str, Any]]:
        try:
            path = make_download(_project(store, key), kind)
        except VosZooError as error:
            return gr.File(value=None, visible=False), _news("error", message=str(error))
        return gr.File(value=str(path), visible=True), {}

    def call(request: dict[str, Any]) -> dict[str, Any]:
        return answer(store, request)

    offered: list[list[str]] = [_models(model), list(_DIRECTIONS), list(_SIZES)]
    with gr.Blocks(title="vos_zoo", analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        key, fields = gr.Textbox(visible=False), gr.Textbox(visible=False)
        gr.Markdown("# Segment objects through a video\nEverything stays on the machine that runs this page.")
        with gr.Column(elem_id="vz-page"):
            with gr.Column(elem_id="vz-choose"):
                gr.Markdown("## 1 Choose a video")
                chosen = gr.File(label="Video file", file_types=["video", ".gif", ".tif", ".tiff"], height=120)
                take_example = gr.Button("Use the example (a bird)")
            gr.HTML(
                html_template=page_file("editor.html"),
                js_on_load=page_file("editor.js"),
                apply_default_css=False,
                server_functions=[call],
                elem_id="vz-editor",
            )
            with gr.Column(elem_id="vz-tracking"):
                gr.Markdown("## 3 Track")
                with gr.Group():
                    name = gr.Dropdown(offered[0], value=model, label="Model")
                    direction = gr.Radio(offered[1], value=offered[1][0], label="Direction")
                    size = gr.Dropdown(offered[2], value=offered[2][0], label="Working resolution")
                begin = gr.Button("Track", variant="primary", elem_id="vz-track")
            gr.HTML(
                html_template=page_file("review.html"),
                js_on_load=_REVIEW,
                apply_default_css=False,
                elem_id="vz-review",
            )
            with gr.Column(elem_id="vz-download"):
                gr.Markdown("## 5 Download")
                with gr.Row():
                    buttons = {kind: gr.Button(label, size="sm", min_width=110) for kind, label in DOWNLOADS.items()}
                file = gr.File(label="Download", interactive=False, visible=False, elem_id="vz-file")
        news = gr.HTML(value={}, html_template="", js_on_load=_TELL, elem_id="vz-news")
        settings = [name, direction, size]
        page.load(restore, [key, fields], [key, news, *settings], js=_RESTORE, show_progress="hidden", queue=False)
        for field in settings:
            field.change(None, settings, js=_KEEP)
        opening = {"show_progress": "hidden", "concurrency_limit": _OPENED_AT_A_TIME, "concurrency_id": "open"}
        for event in (chosen.upload, take_example.click):
            event(None, js=_wait("Waiting for the server …"))
        begin.click(None, js=_wait("Waiting for your turn …"))
        called = [
            chosen.upload(upload, [chosen, key], [key, news, chosen], **opening),
            take_example.click(example, key, [key, news], **opening),
            # The projects' own line says who is next, and tells the visitors.
            begin.click(track, [key, *settings], news, concurrency_limit=None, show_progress="hidden"),
        ]
        for kind, button in buttons.items():
            called.append(
                button.click(
                    _of_kind(download, kind),
                    key,
                    [file, news],
                    api_name=f"download_{kind}",
                    concurrency_limit=1,
                    concurrency_id="download",
                )
            )
        for event in called:
            event.failure(None, js=_FAILED)
    # Tracking has a line of its own, which refuses in words of its own; this one holds uploads and downloads.
    page.queue(max_size=store.limits.projects)
    return page


def page_file(name: str) -> str:
    """Read one of the files that the page is made of."""
    return (Path(__file__).parent / "page_files" / name).read_text(encoding="utf-8")


def answer(store: ProjectStore, request: Any) -> dict[str, Any]:
    """Answer a question of the editor.

    Args:
        store: Keeps the projects.
        request: ``key`` of the project, ``action``, and what the action takes, as JSON data of any origin.

    Returns:
        The answer as JSON data; ``error`` with a message if there is none.
    """
    try:
        if not isinstance(request, dict):
            raise UsageError("The question is not an object.")
        action = _ACTIONS.get(str(request.get("action")))
        if action is None:
            raise UsageError(f"There is no action {request.get('action')!r}. Expected one of {', '.join(_ACTIONS)}.")
        return action(store, request)
    except VosZooError as error:
        return {"error": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        return {"error": "The server has too little memory for this. Take a smaller video, or a smaller size."}


def _state(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    return _project_of(store, request).state()


def _picture(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    picture = _project_of(store, request).pictures.read(_number(request, "frame"))
    return {"url": _url("image/jpeg", picture)}


def _mask(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    project, frame = _project_of(store, request), _number(request, "frame")
    content = project.mask_picture(frame)
    return {"url": None if content is None else _url("image/png", content), "prompts": project.prompts(frame)}


def _edit(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    project, frame = _project_of(store, request), _number(request, "frame")
    data = {"version": 1, "frames": {str(frame): [request.get("prompt")]}}
    (prompt,) = prompts_from_json(data, where="What was drawn")[frame]
    project.edit(frame, prompt)
    return project.state()


def _undo(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    project = _project_of(store, request)
    return {"undone": project.undo(), **project.state()}


def _add(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    project = _project_of(store, request)
    return {"added": project.add_object(), **project.state()}


def _rename(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    project = _project_of(store, request)
    project.rename(_number(request, "object"), str(request.get("name", "")))
    return project.state()


def _stop(store: ProjectStore, request: dict[str, Any]) -> dict[str, Any]:
    store.stop(str(request.get("key", "")))
    return {}


_ACTIONS: dict[str, Callable[[ProjectStore, dict[str, Any]], dict[str, Any]]] = {
    "state": _state,
    "picture": _picture,
    "mask": _mask,
    "edit": _edit,
    "undo": _undo,
    "add": _add,
    "rename": _rename,
    "stop": _stop,
}


def _number(request: dict[str, Any], name: str) -> int:
    value = request.get(name)
    if type(value) is not int or not 0 <= value < 10**9:
        raise LimitError(f"{name} is {value!r}. Expected a whole number from 0.")
    return value


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _project(store: ProjectStore, key: str) -> AppProject:
    if not key:
        raise UsageError(_NO_PROJECT)
    return store.get(key)


def _project_of(store: ProjectStore, request: dict[str, Any]) -> AppProject:
    return _project(store, str(request.get("key", "")))


_numbers = itertools.count()


def _news(kind: str, **facts: Any) -> dict[str, Any]:
    """Make news for the page; the number lets it tell two equal ones apart."""
    return {"kind": kind, "number": next(_numbers), **facts}


def _open_upload(store: ProjectStore, path: str | None, before: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Make a project of an uploaded file, and remove the upload."""
    if path is None:
        yield before, _news("error", message=_NO_PROJECT)
        return
    try:
        yield from _open(store, Path(path), Path(path).name, before)
    finally:
        Path(path).unlink(missing_ok=True)


def _open(store: ProjectStore, video: Path, name: str, before: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Make a project of a video, and say how it goes; the project before stays where there is no new one."""
    said_at = -math.inf
    opening = None
    try:
        for opening in store.open(video, name):
            if not opening.is_ready and time.monotonic() - said_at > _NEWS_EVERY:
                said_at = time.monotonic()
                yield before, _news("opening", key=opening.key, done=opening.done, total=opening.total)
    except (VosZooError, OSError) as error:
        yield before, _news("error", message=str(error))
        return
    if opening is None or not opening.is_ready:
        yield before, _news("stopped")
        return
    with contextlib.suppress(MissingFileError):
        store.stop(before)
    yield opening.key, _news("project", key=opening.key)


def _track(store: ProjectStore, key: str, settings: ProjectSettings) -> Iterator[dict[str, Any]]:
    """Track, and say how it goes."""
    try:
        with contextlib.closing(_project(store, key).track(settings)) as previews:
            for preview in previews:
                facts = {"key": key, "done": preview.done, "total": preview.total, "frame": preview.frame}
                if preview.is_last:
                    yield _news("end", message=preview.message, **facts)
                else:
                    pace = {"rate": preview.frames_per_second, "left": preview.seconds_left, "ahead": preview.ahead}
                    yield _news("tracking", **facts, **pace)
    except VosZooError as error:
        yield _news("error", message=str(error))


def _wait(text: str) -> str:
    return f"() => {{ window.vosZoo.wait({json.dumps(text)}); }}"


def _fields(text: str) -> list[Any]:
    """Read what a tab kept of the fields, which may be anything."""
    try:
        values = parse_json(text)
    except ValueError:
        values = None
    return values if isinstance(values, list) and len(values) == 3 else [None] * 3


def _of_kind(
    download: Callable[[str, str], tuple[Any, dict[str, Any]]], kind: str
) -> Callable[[str], tuple[Any, dict[str, Any]]]:
    return lambda key: download(key, kind)


def _models(chosen: str) -> list[str]:
    return list(dict.fromkeys([chosen, *list_models()]))
