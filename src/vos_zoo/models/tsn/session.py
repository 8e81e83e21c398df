"""A session that also shows where TSN relies on its instance stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch.nn.functional as F

from vos_zoo.errors import ConfigError
from vos_zoo.inference.session import FrameView, VideoSession

from .memory import TSNMemory
from .network import TSNNetwork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TSNSession(VideoSession):
    """A video session of TSN, see ``vos_zoo.VideoSession``.

    Example:
        >>> import numpy as np
        >>> from vos_zoo.models.tsn import TSNModule
        >>> session = TSNModule("tiny").session(size=32)
        >>> mask = np.zeros((40, 60), np.int32)
        >>> mask[10:30, 10:30] = 7
        >>> _ = session.step(np.zeros((40, 60, 3), np.uint8), mask)
        >>> session.routing is None
        True
        >>> _ = session.step(np.zeros((40, 60, 3), np.uint8))
        >>> session.routing.shape
        (40, 60)
    """

    @property
    def routing(self) -> NDArray[np.float32] | None:
        """Routing map of the last frame (TSN, Figure 5): weight of the instance stream, 0-1, (H, W) of the frame.

        The mean over objects, which differ only if they joined on different frames. None if the last frame was not
        segmented because all objects were annotated, after an object was removed until the next frame, and for
        configurations without a routing map.
        """
        routing = cast("TSNMemory", self._memory).routing
        if routing is None or self._geometry is None:
            return None
        mean = routing.float().mean(dim=1, keepdim=True)
        padded = F.interpolate(mean, self._geometry.padded_size, mode="bilinear", align_corners=False)
        result: NDArray[np.float32] = self._geometry.to_frame(self._geometry.crop(padded)[0, 0]).cpu().numpy()
        return result

    def watch(self, name: str) -> None:
        """Compute ``"routing"`` for :meth:`view` from the next frame on.

        Raises:
            ConfigError: If the name is another, or the configuration has no routing map.
        """
        if name != "routing":
            super().watch(name)
        if cast("TSNNetwork", self._network).pixel_division is None:
            raise ConfigError(
                "This TSN has no routing map: it was configured with one stream, or with equal weights. Use one with "
                "streams='both' and fusion='routing'."
            )
        cast("TSNMemory", self._memory).compares_first = True

    def view(self) -> FrameView | None:
        """Return the routing map of the last frame and, once watched, its mean against the first frame (Figure 6)."""
        memory, routing = cast("TSNMemory", self._memory), self.routing
        if routing is None:
            return None
        means = {"memory": float(routing.mean())}
        if memory.first_routing is not None:
            means["first frame"] = float(memory.first_routing.float().mean())
        return FrameView(routing, means)
