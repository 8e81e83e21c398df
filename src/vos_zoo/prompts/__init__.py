"""First masks without a drawing program: boxes, polygons, points and scribbles on a frame become a mask.

Coordinates are in pixels, x to the right and y down, from the frame's top-left corner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.prompts.given import Prompts as Prompts
    from vos_zoo.prompts.json_form import prompts_from_json as prompts_from_json
    from vos_zoo.prompts.json_form import prompts_to_json as prompts_to_json
    from vos_zoo.prompts.json_form import read_prompts as read_prompts
    from vos_zoo.prompts.mask import prompt_mask as prompt_mask
    from vos_zoo.prompts.prompt import Box as Box
    from vos_zoo.prompts.prompt import Brush as Brush
    from vos_zoo.prompts.prompt import Points as Points
    from vos_zoo.prompts.prompt import Polygon as Polygon
    from vos_zoo.prompts.prompt import Prompt as Prompt
    from vos_zoo.prompts.prompt import Scribbles as Scribbles

_PROMPT = "vos_zoo.prompts.prompt"

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Box": _PROMPT,
        "Brush": _PROMPT,
        "Points": _PROMPT,
        "Polygon": _PROMPT,
        "Prompt": _PROMPT,
        "Prompts": "vos_zoo.prompts.given",
        "Scribbles": _PROMPT,
        "prompt_mask": "vos_zoo.prompts.mask",
        "prompts_from_json": "vos_zoo.prompts.json_form",
        "prompts_to_json": "vos_zoo.prompts.json_form",
        "read_prompts": "vos_zoo.prompts.json_form",
    },
)
__all__ = [
    "Box",
    "Brush",
    "Points",
    "Polygon",
    "Prompt",
    "Prompts",
    "Scribbles",
    "prompt_mask",
    "prompts_from_json",
    "prompts_to_json",
    "read_prompts",
]
