"""One video's state: frames go in one at a time, masks come out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from vos_zoo.devices import find_device
from vos_zoo.errors import ConfigError, MaskError, OutOfMemoryError, VideoError, is_out_of_memory
from vos_zoo.layers import soft_aggregate
from vos_zoo.media.arrays import ColorOrder, to_frame, to_mask
from vos_zoo.media.mask_values import RIM_VALUE, VoidChoice, check_void, has_void_rims
from vos_zoo.media.masks import warn_of_palette_greys, warn_of_void_rims

from .arithmetic import Precision, arithmetic, check_precision, half_type, store_weights
from .geometry import FrameGeometry, WorkingSize
from .objects import ObjectIds
from .optimize import compile_network, copy_network, optimize_network
from .result import FrameResult, id_type, label_pixels
from .side_inputs import check_side_inputs
from .unwrap import find_network

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from vos_zoo.network import ClipMemory, MemoryPolicy, VOSNetwork

    from .unwrap import Model

_logger = logging.getLogger(__name__)
_LEAST_ID, _LARGEST_ID = -(2**31), 2**31 - 1  # the largest type of masks is int32


@dataclass(frozen=True, eq=False)
class FrameView:
    """Something to look at beside the masks.

    Args:
        map: One number of 0-1 per pixel, float32 (H, W) in the frame's own size.
        means: Means over the frame that are worth a curve over time, by what they are called.
    """

    map: NDArray[np.float32]
    means: dict[str, float]


@dataclass(frozen=True)
class SessionEstimate:
    """Bytes that a session will take, estimated before its first frame.

    Args:
        working_size: Padded (height, width) that the network sees.
        objects: Number of objects the estimate is for.
        weight_bytes: The network's parameters and buffers.
        frame_bytes: One memorised frame.
        max_memory_frames: Memorised frames at most; None if the memory grows with the video.
        working_bytes: Activations while a frame is processed (an estimate, exact to about a third).
    """

    working_size: tuple[int, int]
    objects: int
    weight_bytes: int
    frame_bytes: int
    max_memory_frames: int | None
    working_bytes: int

    @property
    def memory_bytes(self) -> int | None:
        """Bytes of the memory at most; None if it grows with the video."""
        return None if self.max_memory_frames is None else self.frame_bytes * self.max_memory_frames

    @property
    def total_bytes(self) -> int | None:
        """Bytes of everything at most; None if the memory grows with the video."""
        return None if self.memory_bytes is None else self.weight_bytes + self.working_bytes + self.memory_bytes


class VideoSession:
    """Segment one video frame by frame, holding the current frame and the memory only.

    Args:
        model: A name for :func:`vos_zoo.load_model`, a loaded model, or its network. Wrappers of PyTorch, such as
            ``DataParallel``, are taken off.
        size: How the network sees frames; masks come back in the frames' own size. A number is the short side in
            pixels that larger frames are made smaller to; smaller frames keep their size (very small ones are
            enlarged). A pair (height, width) is the size of all frames. None keeps every size. ``"native"`` is what
            the network was made for: a short side of 480 pixels, or a fixed size (turned for upright videos).
        device: Where this session's network runs: ``"auto"`` for the best device there is, or a name such as
            ``"cuda:1"``. The model itself stays where it is. None means there, too, and for a name ``"auto"``.
        policy: What the memory keeps; None means the paper's policy, bounded.
        precision: Arithmetic of the network: ``fp32``; ``tf32`` for faster convolutions on CUDA devices; or mixed
            precision in ``bf16`` or ``fp16``. See ``vos_zoo.inference.arithmetic``.
        max_memory_bytes: Budget for the memory in bytes, on top of the policy.
        side_inputs: What the network takes beside frames and masks, opened, by its name among the network's
            ``side_inputs``.
        color: Order of the frames' colours: "rgb", or "bgr" as OpenCV reads them.
        void: Value of pixels without an opinion in given masks: there, objects are segmented as if nothing had been
            given. ``"auto"`` takes 255 for it where it rims objects; None means that every value is an id.
        optimize: Run an equal network rearranged for inference, see ``vos_zoo.inference.optimize``. The weights are
            those at this moment: later changes of the model do not reach the session. If false, the model itself is
            switched to evaluation mode, or copied if it is on another device.
        compile: Compile the network's parts by ``torch.compile``: worth it for long videos, because the first frames
            take up to minutes.

    Raises:
        ConfigError: If an argument is out of range, there is no such device, nothing can be compiled on it, or the
            weights are not float32.
        UsageError: If ``model`` is no model.
        VosZooError: As :func:`vos_zoo.load_model` says, if ``model`` is a name.

    Example:
        >>> from vos_zoo.models.rde import RDEModule
        >>> session = VideoSession(RDEModule("tiny"), size=32)
        >>> mask = np.zeros((40, 60), np.int32)
        >>> mask[10:30, 10:30] = 7
        >>> first = session.step(np.zeros((40, 60, 3), np.uint8), mask)
        >>> second = session.step(np.zeros((40, 60, 3), np.uint8))
        >>> bool((first.mask == mask).all()), second.mask.shape, second.object_ids
        (True, (40, 60), (7,))
    """

    def __init__(
        self,
        model: Model,
        *,
        size: WorkingSize | Literal["native"] = "native",
        device: str | torch.device | None = None,
        policy: MemoryPolicy | None = None,
        precision: Precision = "fp32",
        max_memory_bytes: int | None = None,
        side_inputs: Mapping[str, Any] | None = None,
        color: ColorOrder = "rgb",
        void: VoidChoice = "auto",
        optimize: bool = True,
        compile: bool = False,  # torch's own name for it
    ) -> None:
        _check_size(size)
        check_precision(precision)
        half = half_type(precision)
        if color not in ("rgb", "bgr"):
            raise ConfigError(f"The order of colours is {color!r}. Expected 'rgb', or 'bgr' for frames of OpenCV.")
        network = find_network(model)
        if device is None and isinstance(model, (str, Path)):
            device = "auto"
        # An empty tensor knows the number of a device that was given without one.
        target = None if device is None else torch.empty(0, device=find_device(device)).device
        if optimize:
            self._network = optimize_network(network, target, winograd=half is None and not compile)
            if half is not None:
                store_weights(self._network, half)
        elif target is None or next(network.parameters()).device == target:
            self._network = network.eval()
        else:
            self._network = copy_network(network, target).eval()
        if compile:
            self._network = compile_network(self._network, self.device)
        self._size = size
        self._precision = precision
        self._color = color
        check_void(void)
        self._void: VoidChoice = void
        self._small: set[int] = set()  # objects that were said to be too small
        chosen = policy or self._network.default_policy()
        if side_inputs:
            check_side_inputs(self._network, side_inputs)
            chosen = self._network.with_side_inputs(chosen, side_inputs)
        self._policy = chosen if max_memory_bytes is None else replace(chosen, max_bytes=max_memory_bytes)
        self._objects = ObjectIds()
        self._id_type: np.dtype[Any] = id_type(())
        self._geometry: FrameGeometry | None = None
        self._next_index = 0
        with torch.no_grad():
            self._memory: ClipMemory = self._network.new_memory(self._policy)

    @property
    def network(self) -> VOSNetwork[Any, Any]:
        """The network that runs: the model's own, or an equal one rearranged for inference."""
        return self._network

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects tracked now."""
        return self._objects.ids

    @property
    def num_frames(self) -> int:
        """Frames processed so far."""
        return self._next_index

    @property
    def memory_frames(self) -> int:
        """Frames in memory."""
        return self._memory.num_frames

    @property
    def memory_bytes(self) -> int:
        """Bytes of the memory."""
        return self._memory.nbytes

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self._network.parameters()).device

    def step(self, frame: Any, mask: Any = None, *, absent: Collection[int] = ()) -> FrameResult:
        """Process the next frame.

        Args:
            frame: RGB (or BGR, see ``color``): a NumPy array or PyTorch tensor, uint8 or 0-1, of shape (H, W, 3) or
                (3, H, W), or a Pillow image; see :func:`vos_zoo.media.arrays.to_frame`.
            mask: Optional annotation of this frame, as array, tensor or image: object id per pixel, shape (H, W);
                booleans mark object 1, several of them objects 1 to N; see :func:`vos_zoo.media.arrays.to_mask`. Ids
                that are new become tracked objects; ids already tracked are corrected. Objects that do not appear in
                the mask are segmented as usual, outside the annotated pixels.
            absent: Tracked objects that this frame does not show. Their masks are empty in it, and the memory learns
                so; they stay tracked and may come back. :meth:`remove` forgets an object.

        Returns:
            The frame's mask. Annotated objects come back exactly as annotated.

        Raises:
            VideoError: If the frame is no RGB image or has another size than the frames before.
            MaskError: If the mask holds no integers or has another size than the frame, or an absent object is not
                tracked or in the mask.
            OutOfMemoryError: If the device runs out of memory; the session stays usable.
        """
        frame = to_frame(frame, f"Frame {self._next_index}", color=self._color)
        geometry = self._check_frame(frame)
        mask = None if mask is None else to_mask(mask, f"The mask of frame {self._next_index}")
        annotated, is_open = self._check_mask(mask, geometry.frame_size)
        self._say_what_is_small(mask, annotated, geometry)
        if absent:
            annotated = [*annotated, *self._check_absent(absent, annotated)]
            mask = np.zeros(geometry.frame_size, np.uint8) if mask is None else mask
        failure: OutOfMemoryError | None = None
        try:
            with torch.inference_mode(), arithmetic(self._precision, self.device), self._memory.attempt():
                result = self._step(frame, mask, annotated, is_open, geometry)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failure = OutOfMemoryError(
                self._out_of_memory_message(geometry, len(set(self._objects.ids) | set(annotated)))
            )
        if failure is not None:
            # Raised out here, it does not remember the original, whose traceback holds the activations.
            raise failure
        self._geometry = geometry
        self._next_index += 1
        return result

    def remove(self, object_id: int) -> None:
        """Stop tracking an object.

        Raises:
            MaskError: If the id is not tracked.
            OutOfMemoryError: If the device runs out of memory; the object is then still tracked.
        """
        objects = ObjectIds()
        objects.add(self._objects.ids)
        plane = objects.remove(object_id)
        try:
            with self._memory.attempt():
                self._memory.remove_objects([plane])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"Out of memory on {self.device} while object {object_id} was removed: the others' memory is copied. "
                "The object is still tracked. Free some memory and remove it again."
            ) from None
        self._objects = objects

    def watch(self, name: str) -> None:
        """Compute also what costs extra for :meth:`view`, from the next frame on.

        Args:
            name: One of the network's ``views``.

        Raises:
            ConfigError: If this network does not show it.
        """
        self._check_view(name)
        self._network.watch(name, self._memory)

    def view(self, name: str) -> FrameView | None:
        """Return a view of the last frame; None if that frame was not segmented.

        Args:
            name: One of the network's ``views``.

        Raises:
            ConfigError: If this network does not show it.
        """
        self._check_view(name)
        shown = self._network.view(name, self._memory)
        if shown is None or self._geometry is None:
            return None
        planes = shown.map.float().unsqueeze(1)
        padded = F.interpolate(planes, self._geometry.padded_size, mode="bilinear", align_corners=False)
        pixels: NDArray[np.float32] = self._geometry.to_frame(self._geometry.crop(padded)[0, 0]).cpu().numpy()
        return FrameView(pixels, shown.means)

    def _check_view(self, name: str) -> None:
        if name not in self._network.views:
            shown = ", ".join(f"{known!r} ({about})" for known, about in self._network.views.items()) or "nothing"
            raise ConfigError(
                f"{type(self._network).__name__} has no view {name!r}. This network, as it is configured, shows "
                f"{shown} beside its masks."
            )

    def describe(self, frame_size: tuple[int, int], *, objects: int = 1) -> SessionEstimate:
        """Estimate memory before the first frame.

        Args:
            frame_size: Height and width of the frames in pixels.
            objects: Number of objects.
        """
        return self._estimate(self._fit(frame_size), objects)

    def _fit(self, frame_size: tuple[int, int]) -> FrameGeometry:
        return FrameGeometry.fit(frame_size, self._working_size(frame_size), self._network.stride)

    def _working_size(self, frame_size: tuple[int, int]) -> WorkingSize:
        if self._size != "native":
            return self._size
        size = self._network.working_size
        is_upright = frame_size[0] > frame_size[1]
        if isinstance(size, tuple) and is_upright != (size[0] > size[1]):
            return size[1], size[0]
        return size

    def _step(
        self,
        frame: NDArray[np.uint8],
        mask: NDArray[np.integer] | None,
        annotated: list[int],
        is_open: NDArray[np.bool_] | None,
        geometry: FrameGeometry,
    ) -> FrameResult:
        network, memory = self._network, self._memory
        memory.tick()
        known = len(self._objects)
        needs_prediction = any(is_open is not None or object_id not in annotated for object_id in self._objects.ids)
        if not needs_prediction and not annotated:  # nothing to track yet
            background = torch.ones(1, *geometry.working_size, dtype=torch.float32, device=self.device)
            return FrameResult(
                self._next_index, np.zeros(geometry.frame_size, self._id_type), (), _ordinary(background)
            )
        features = network.encode(geometry.to_image(frame, self.device, pad_first=network.pads_before_normalisation))
        if needs_prediction:
            probabilities = torch.sigmoid(network.segment(features, memory).float())
            if annotated:
                # An annotated frame is predicted like any other before the given masks change it.
                probabilities = torch.softmax(soft_aggregate(probabilities), dim=1)[:, 1:]
        else:
            probabilities = torch.zeros(1, known, *geometry.padded_size, dtype=torch.float32, device=self.device)
        newcomers = [object_id for object_id in annotated if object_id not in self._objects]
        objects = ObjectIds()
        objects.add((*self._objects.ids, *newcomers))
        planes = objects.planes(annotated)
        if annotated:
            assert mask is not None
            exact = geometry.to_planes(mask, annotated, self.device)
            empty = exact.new_zeros(1, len(newcomers), *exact.shape[2:])
            probabilities = torch.cat([probabilities, empty], dim=1) * (1 - exact.amax(dim=1, keepdim=True))
            if is_open is not None:
                # Absent objects, which no pixel shows, stay absent.
                is_shown = torch.tensor([bool((mask == object_id).any()) for object_id in annotated])
                gaps = geometry.to_planes(is_open.astype(np.uint8), [1], self.device) > 0
                gaps = gaps & is_shown.to(self.device)[None, :, None, None]
                exact = torch.where(gaps, probabilities[:, planes], exact)
            probabilities[:, planes] = exact
        final = torch.softmax(soft_aggregate(probabilities), dim=1)
        cropped = geometry.crop(final)[0]
        kind = np.promote_types(self._id_type, id_type(objects.ids))
        labels = label_pixels(
            cropped, objects.ids, geometry.frame_size, given=mask, is_open=is_open, annotated=annotated, dtype=kind
        )
        result = FrameResult(self._next_index, labels, objects.ids, _ordinary(cropped))
        # Last, so that a frame that fails before has changed nothing.
        if annotated or memory.is_due:
            masks = final[:, 1:]
            if network.pads_masks_with_zeros:
                masks = geometry.blank_padding(masks)
            network.memorize(features, masks, memory, reference=planes)
        self._objects = objects
        self._id_type = kind
        return result

    def _check_frame(self, frame: NDArray[np.uint8]) -> FrameGeometry:
        size = (frame.shape[0], frame.shape[1])
        if 0 in size:
            raise VideoError(f"Frame {self._next_index} is {size[1]}x{size[0]} pixels. Expected at least one pixel.")
        if self._geometry is not None and self._geometry.frame_size != size:
            raise VideoError(
                f"Frame {self._next_index} is {size[1]}x{size[0]} pixels, the frames before were "
                f"{self._geometry.frame_size[1]}x{self._geometry.frame_size[0]}. Use one session per video size."
            )
        return self._geometry or self._fit(size)

    def _check_mask(
        self, mask: NDArray[np.integer] | None, size: tuple[int, int]
    ) -> tuple[list[int], NDArray[np.bool_] | None]:
        """Give the mask's ids, and where it has no opinion; None instead of nowhere."""
        if mask is None:
            return [], None
        if mask.shape != size:
            raise MaskError(
                f"The mask of frame {self._next_index} is {mask.shape[1]}x{mask.shape[0]} pixels, its frame "
                f"{size[1]}x{size[0]}. Give a mask of the frame's size (or resize it, nearest neighbour)."
            )
        void = self._void
        if void == "auto":
            void = RIM_VALUE if has_void_rims(mask) else None
            if void is not None:
                warn_of_void_rims(f"The mask of frame {self._next_index}")
        ids = [int(object_id) for object_id in np.unique(mask) if object_id != 0 and object_id != void]
        outside = [object_id for object_id in ids if not _LEAST_ID <= object_id <= _LARGEST_ID]
        if outside:
            raise MaskError(
                f"The mask of frame {self._next_index} holds object id {outside[0]}. Expected ids that fit 32 bits, "
                f"{_LEAST_ID} to {_LARGEST_ID}; number the objects anew."
            )
        is_open = None if void is None else mask == void
        return ids, is_open if is_open is not None and is_open.any() else None

    def _check_absent(self, absent: Collection[int], annotated: list[int]) -> list[int]:
        wrong = [object_id for object_id in absent if object_id not in self._objects or object_id in annotated]
        if wrong:
            why = "in the mask of this frame" if wrong[0] in annotated else "not tracked"
            raise MaskError(
                f"Object {wrong[0]} is said to be absent from frame {self._next_index}, but it is {why}. Expected "
                f"tracked objects ({', '.join(map(str, self._objects.ids)) or 'none so far'}) that the mask leaves out."
            )
        return list(dict.fromkeys(absent))

    def _say_what_is_small(
        self, mask: NDArray[np.integer] | None, annotated: list[int], geometry: FrameGeometry
    ) -> None:
        """Log shapes and objects that the network will hardly see, before it works on them."""
        if self._geometry is None:
            bound = geometry.describe_bound(self._working_size(geometry.frame_size))
            if bound:
                _logger.warning("%s", bound)
        if mask is None:
            return
        warn_of_palette_greys(annotated, f"The mask of frame {self._next_index}")
        for object_id in set(annotated) - self._small:
            loss = geometry.describe_loss(int((mask == object_id).sum()))
            if loss:
                self._small.add(object_id)
                _logger.warning("Object %d in the mask of frame %d %s", object_id, self._next_index, loss)

    def _estimate(self, geometry: FrameGeometry, objects: int) -> SessionEstimate:
        cost = self._network.memory_cost(self._policy, geometry.padded_size, objects)
        frames = cost.max_frames
        if self._policy.max_bytes is not None:
            budget = self._policy.max_bytes // cost.bytes_per_frame
            frames = budget if frames is None else min(frames, budget)
        scale = 1.0 if half_type(self._precision) is None else 0.5
        weights = [*self._network.parameters(), *self._network.buffers()]
        return SessionEstimate(
            working_size=geometry.padded_size,
            objects=objects,
            weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in weights),
            frame_bytes=int(cost.bytes_per_frame * scale),
            max_memory_frames=frames,
            working_bytes=int(cost.working_bytes * scale),
        )

    def _out_of_memory_message(self, geometry: FrameGeometry, objects: int) -> str:
        height, width = geometry.working_size
        estimate = self._estimate(geometry, objects)
        smaller = max(self._network.stride, int(min(height, width) * 0.7) // 16 * 16)
        fewer = max(2, self.memory_frames // 2)
        return (
            f"Out of memory on {self.device} at frame {self._next_index}: {width}x{height} pixels, {objects} objects, "
            f"{self.memory_frames} frames in memory (about {estimate.working_bytes / 2**20:.0f} MiB for the frame and "
            f"{self.memory_bytes / 2**20:.0f} MiB of memory). Settings that take about half: size={smaller}; "
            f"policy with max_frames={fewer}; "
            + (f"{max(1, objects // 2)} objects at a time." if half_type(self._precision) else "precision='bf16'.")
        )


def _ordinary(tensor: Tensor) -> Tensor:
    """Copy a tensor of inference mode into one that takes part in everything."""
    with torch.inference_mode(False), torch.no_grad():
        return tensor.clone(memory_format=torch.contiguous_format)


def _check_size(size: WorkingSize | Literal["native"]) -> None:
    sides = size if isinstance(size, tuple) else (size,)
    is_number = all(isinstance(side, int) and side >= 1 for side in sides)
    if size is None or size == "native" or (is_number and len(sides) == (2 if isinstance(size, tuple) else 1)):
        return
    raise ConfigError(
        f"Working size is {size!r}. Expected a short side such as 480, a pair (height, width) such as (256, 448), both "
        "in pixels, None for the frames' own size, or 'native'."
    )
