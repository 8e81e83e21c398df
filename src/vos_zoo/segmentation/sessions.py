"""Opening one session after another for the passes of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vos_zoo.inference.session import VideoSession
from vos_zoo.inference.side_inputs import open_side_inputs
from vos_zoo.inference.unwrap import find_network
from vos_zoo.media.mask_values import VOID

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from vos_zoo.inference.arithmetic import Precision
    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.inference.unwrap import Model
    from vos_zoo.segmentation.inputs import Inputs
    from vos_zoo.segmentation.passes import Pass

__all__ = ["Sessions"]


@dataclass
class Sessions:
    """Everything that a session is made of, but the frames; the model is loaded with the first one.

    Args:
        model: A name for :func:`vos_zoo.load_model`, or a loaded model.
        device: Where the network runs; None means the best device for a name, and a loaded model's own.
        size: Working size.
        precision: Arithmetic of the network.
        memory_budget: Most bytes of the network's memory.
        side_inputs: Paths of what the network takes beside frames and masks.
        show: A view to turn on; None for none.
    """

    model: Model
    device: str | torch.device | None = None
    size: WorkingSize | Literal["native"] = "native"
    precision: Precision | Literal["auto"] = "fp32"
    memory_budget: int | None = None
    side_inputs: Mapping[str, str | Path] = field(default_factory=dict)
    show: str | None = None

    def open(self, one: Pass, inputs: Inputs) -> tuple[VideoSession, list[str]]:
        """Open the session of a pass.

        Args:
            one: The pass.
            inputs: Frames and masks.

        Returns:
            The session, and the list to which the name of every frame is added before the session sees it.
        """
        if self.device is None and isinstance(self.model, (str, Path)):
            self.device = "auto"
        self.model = find_network(self.model)
        names, annotated = inputs.reader.names, set(inputs.annotations.frames)
        seen: list[str] = []
        opened = {}
        if self.side_inputs:
            order = [names[position] for position in one.positions]
            first = next((number for number, name in enumerate(order) if name in annotated), len(order))
            opened = open_side_inputs(self.model, self.side_inputs, seen, needed=order[first + 1 :], size=self.size)
        session = VideoSession(
            self.model,
            size=self.size,
            device=self.device,
            precision=self.precision,
            max_memory_bytes=self.memory_budget,
            side_inputs=opened,
            void=VOID,
        )
        if self.show is not None:
            session.watch(self.show)
        return session, seen
