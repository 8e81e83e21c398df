"""The page: what Gradio shows, and which function of a project answers what."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.app.downloads import DOWNLOADS, make_download
from vos_zoo.demo import demo_clip
from vos_zoo.errors import LimitError, UsageError, VosZooError
from vos_zoo.prompts.json_form import prompts_from_json
from vos_zoo.registry import list_models
from vos_zoo.segmentation.project import ProjectSettings

if TYPE_CHECKING:
    import gradio

    from vos_zoo.app.project import AppProject
    from vos_zoo.app.store import ProjectStore

__all__ = ["build_page"]

_logger = logging.getLogger(__name__)
_FILES = Path(__file__).parent / "page_files"
_STORED_KEY = "() => [sessionStorage.getItem('vos-zoo-project') || '']"
_WAITING = "() => { window.vosZoo.wait(); }"
_NO_PROJECT = "Choose a video first."
_SIZES = {"As the model was made for": "native", "360 pixels": 360, "240 pixels (fast)": 240}
_DIRECTIONS = {"Both ways": "both", "Forwards": "forward", "Backwards": "backward"}


def build_page(store: ProjectStore, *, model: str = "rde") -> gradio.Blocks:
    """Build the page.

    Args:
        store: Keeps the visitors' projects.
        model: Model that is chosen at first.

    Returns:
        The page, ready to be launched; see :func:`vos_zoo.app.serve.serve`.
    """
    import gradio as gr

    def read(name: str) -> str:
        return (_FILES / name).read_text(encoding="utf-8")

    def upload(path: str | None) -> tuple[str, dict[str, Any], None]:
        key, news = _open(store, path)
        return key, news, None

    def example() -> tuple[str, dict[str, Any]]:
        clip = demo_clip()
        return _made(store, clip.video, clip.video.name)

    def restore(key: str) -> tuple[str, dict[str, Any]]:
        try:
            store.get(key)
        except VosZooError:
            return "", {}
        return key, {"kind": "project", "key": key}

    def track(key: str, name: str, direction: str, size: str) -> Iterator[dict[str, Any]]:
        settings = ProjectSettings(model=name, direction=_DIRECTIONS[direction], size=_SIZES[size])  # type: ignore[arg-type]
        yield from _track(store, key, settings)

    def stop(key: str) -> None:
        if key:
            store.get(key).stop()

    def download(key: str, kind: str) -> tuple[str | None, dict[str, Any]]:
        try:
            return str(make_download(_project(store, key), kind)), {}
        except VosZooError as error:
            return None, {"kind": "error", "message": str(error)}

    def call(request: dict[str, Any]) -> dict[str, Any]:
        return answer(store, request)

    with gr.Blocks(title="vos_zoo", analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        key = gr.Textbox(visible=False)
        gr.Markdown("# Segment objects through a video\nEverything stays on the machine that runs this page.")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                gr.Markdown("## 1 Choose a video")
                chosen = gr.File(label="Video file", file_types=["video", ".gif", ".tif", ".tiff"], height=120)
                take_example = gr.Button("Take the example (a bird)")
                gr.Markdown("## 3 Track")
                with gr.Group():
                    name = gr.Dropdown(_models(model), value=model, label="Model")
                    direction = gr.Radio(list(_DIRECTIONS), value="Both ways", label="Direction")
                    size = gr.Dropdown(list(_SIZES), value=next(iter(_SIZES)), label="Size that the model sees")
                with gr.Row():
                    begin = gr.Button("Track", variant="primary", elem_id="vz-track")
                    end = gr.Button("Stop", elem_id="vz-stop")
                gr.Markdown("## 5 Download")
                with gr.Row():
                    buttons = {kind: gr.Button(label, size="sm") for kind, label in DOWNLOADS.items()}
                file = gr.File(label="Download", interactive=False, height=90, elem_id="vz-file")
            with gr.Column(scale=3):
                gr.HTML(
                    html_template=read("editor.html"),
                    css_template=read("editor.css"),
                    js_on_load=read("editor.js"),
                    apply_default_css=False,
                    server_functions=[call],
                    elem_id="vz-editor",
                )
                news = gr.HTML(
                    value={},
                    html_template="",
                    js_on_load="watch('value', () => window.vosZoo && window.vosZoo.news(props.value));",
                    elem_id="vz-news",
                )
        page.load(restore, key, [key, news], js=_STORED_KEY, show_progress="hidden", queue=False)
        chosen.upload(upload, chosen, [key, news, chosen], concurrency_limit=1, concurrency_id="open")
        take_example.click(example, None, [key, news], concurrency_limit=1, concurrency_id="open")
        begin.click(None, js=_WAITING)
        begin.click(
            track,
            [key, name, direction, size],
            news,
            concurrency_limit=1,
            concurrency_id="track",
            show_progress="hidden",
        )
        end.click(stop, key, None, queue=False)
        for kind, button in buttons.items():
            button.click(_of_kind(download, kind), key, [file, news], concurrency_limit=1, concurrency_id="download")
    page.queue(max_size=store.limits.waiting)
    return page


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
        project = _project(store, str(request.get("key", "")))
        action = _ACTIONS.get(str(request.get("action")))
        if action is None:
            raise UsageError(f"There is no action {request.get('action')!r}. Expected one of {', '.join(_ACTIONS)}.")
        return action(project, request)
    except VosZooError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "The server has too little memory for this. Take a smaller video, or a smaller size."}


def _state(project: AppProject, request: dict[str, Any]) -> dict[str, Any]:
    return project.state()


def _picture(project: AppProject, request: dict[str, Any]) -> dict[str, Any]:
    return {"url": _url("image/jpeg", project.picture(_number(request, "frame")))}


def _mask(project: AppProject, request: dict[str, Any]) -> dict[str, Any]:
    frame = _number(request, "frame")
    content = project.mask_picture(frame)
    return {"url": None if content is None else _url("image/png", content), "prompts": project.prompts(frame)}


def _edit(project: AppProject, request: dict[str, Any]) -> dict[str, Any]:
    frame = _number(request, "frame")
    data = {"version": 1, "frames": {str(frame): [request.get("prompt")]}}
    (prompt,) = prompts_from_json(data, where="What was drawn")[frame]
    project.edit(frame, prompt)
    return project.state()


def _undo(project: AppProject, request: dict[str, Any]) -> dict[str, Any]:
    return {"undone": project.undo(), **project.state()}


def _add(project: AppProject, request: dict[str, Any]) -> dict[str, Any]:
    return {"added": project.add_object(), **project.state()}


def _rename(project: AppProject, request: dict[str, Any]) -> dict[str, Any]:
    project.rename(_number(request, "object"), str(request.get("name", "")))
    return project.state()


_ACTIONS: dict[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    "state": _state,
    "picture": _picture,
    "mask": _mask,
    "edit": _edit,
    "undo": _undo,
    "add": _add,
    "rename": _rename,
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


def _open(store: ProjectStore, path: str | None) -> tuple[str, dict[str, Any]]:
    """Make a project of an uploaded file, and remove the upload."""
    if path is None:
        return "", {"kind": "error", "message": _NO_PROJECT}
    try:
        return _made(store, Path(path), Path(path).name)
    finally:
        Path(path).unlink(missing_ok=True)


def _made(store: ProjectStore, video: Path, name: str) -> tuple[str, dict[str, Any]]:
    try:
        key = store.create(video, name)
    except (VosZooError, OSError) as error:
        return "", {"kind": "error", "message": str(error)}
    return key, {"kind": "project", "key": key}


def _track(store: ProjectStore, key: str, settings: ProjectSettings) -> Iterator[dict[str, Any]]:
    """Track, and say how it goes."""
    try:
        project = _project(store, key)
        yield {"kind": "tracking", "done": 0, "total": 0, "rate": 0.0, "left": 0.0, "frame": None}
        for preview in project.track(settings):
            if preview.is_last:
                yield {"kind": "end", "message": preview.message, "done": preview.done}
            else:
                yield {
                    "kind": "tracking",
                    "done": preview.done,
                    "total": preview.total,
                    "frame": preview.frame,
                    "rate": preview.frames_per_second,
                    "left": preview.seconds_left,
                }
    except VosZooError as error:
        yield {"kind": "error", "message": str(error)}


def _of_kind(
    download: Callable[[str, str], tuple[str | None, dict[str, Any]]], kind: str
) -> Callable[[str], tuple[str | None, dict[str, Any]]]:
    return lambda key: download(key, kind)


def _models(chosen: str) -> list[str]:
    return list(dict.fromkeys([chosen, *list_models()]))
