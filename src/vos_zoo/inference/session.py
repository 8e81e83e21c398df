"""One video's state: frames go in one at a time, masks come out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from vos_zoo.devices import find_device
from vos_zoo.errors import ConfigError, OutOfMemoryError, is_out_of_memory
from vos_zoo.layers import soft_aggregate

from .arithmetic import Precision, arithmetic, check_precision, half_type, prepare_network, warn_of_emulation
from .cuda_graphs import CudaRecorder, Graphs
from .geometry import FrameGeometry, normalise
from .inputs import Given, SessionInputs
from .objects import ObjectIds, id_type
from .optimize import compile_network, copy_network
from .precision_choice import choose_precision
from .result import FrameResult, PendingResult, decide
from .side_inputs import check_side_inputs
from .sizes import check_size, native_size
from .transfer import Downloads, Uploads
from .unwrap import find_network

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.mask_values import VoidChoice
    from vos_zoo.network import ClipMemory, MemoryPolicy, Prediction, VOSNetwork

    from .sizes import WorkingSize
    from .unwrap import Model

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FrameView:
    """A map to look at in addition to the masks.

    Args:
        map: One number of 0-1 per pixel, float32 (H, W) in the frame's own size.
        means: Means over the frame that are worth plotting over time, by name.
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
        working_bytes: Activations while a frame is processed (an estimate, exact to about a third); with CUDA graphs,
            as much again for them.
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
    """Segment one video frame by frame; only the current frame and the memory are held.

    Args:
        model: A name for :func:`vos_zoo.load_model`, a loaded model, or its network. Wrappers of PyTorch, such as
            ``DataParallel``, are removed.
        size: How the network sees frames; masks always have the frames' own size. A number is a short side in pixels:
            larger frames are scaled down to it, smaller ones keep their size (very small ones are enlarged). A pair
            (height, width) is the size of all frames. None keeps every size. ``"native"`` is the size the network was
            designed for: a short side of 480 pixels, or a fixed size (transposed for portrait videos).
        device: Where this session's network runs: ``"auto"`` for the best available device, or a name such as
            ``"cuda:1"``. The model itself does not move. None means the model's device, or ``"auto"`` if ``model`` is
            a name.
        policy: What the memory keeps; None means the paper's policy, bounded.
        precision: Arithmetic of the network: ``fp32``; ``tf32`` for faster convolutions on CUDA devices; mixed
            precision in ``bf16`` or ``fp16``; or ``auto`` for what is fastest on this machine, which is measured on
            first use and remembered. See ``vos_zoo.inference.arithmetic``.
        max_memory_bytes: Budget for the memory in bytes, on top of the policy.
        side_inputs: What the network takes in addition to frames and masks, opened, by its name among the network's
            ``side_inputs``.
        color: Order of the frames' colours: "rgb", or "bgr" as OpenCV reads them.
        void: Value of mask pixels that mean "no opinion": there, objects are segmented as without a mask. ``"auto"``
            uses 255 if it rims objects; None means that every value is an id.
        optimize: Run an equivalent network rearranged for inference, see ``vos_zoo.inference.optimize``. It uses the
            current weights: later changes of the model do not affect the session. If false, the model itself is
            switched to evaluation mode, or copied if it is on another device.
        compile: Compile the network's parts with ``torch.compile``. This pays off for long videos, because the first
            frames can take minutes.
        graphs: On CUDA devices, record what parts of the network launch and replay it: faster wherever launching takes
            longer than computing, for more device memory. Not used together with ``compile``.

    Raises:
        ConfigError: If an argument is out of range, there is no such device, nothing can be compiled on it, or the
            weights are not float32.
        UsageError: If ``model`` is not a model.
        VosZooError: As for :func:`vos_zoo.load_model`, if ``model`` is a name.

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
        precision: Precision | Literal["auto"] = "fp32",
        max_memory_bytes: int | None = None,
        side_inputs: Mapping[str, Any] | None = None,
        color: ColorOrder = "rgb",
        void: VoidChoice = "auto",
        optimize: bool = True,
        compile: bool = False,  # torch's own name for it
        graphs: bool = True,
    ) -> None:
        check_size(size)
        check_precision(precision)
        network = find_network(model)
        # Not methods of this session, which would then keep itself, and its device memory, until the collector runs.
        working_size = partial(_working_size, size, network.working_size)
        self._fit = partial(_fit, working_size, network.stride)
        self._inputs = SessionInputs(self._fit, working_size, color=color, void=void)
        if device is None and isinstance(model, (str, Path)):
            device = "auto"
        # An empty tensor knows the number of a device that was given without one.
        target = None if device is None else torch.empty(0, device=find_device(device)).device
        where = target or next(network.parameters()).device
        chosen = policy or network.default_policy()
        if precision == "auto":
            has_graphs = graphs and not compile
            start = partial(
                VideoSession, network, size=None, device=where, policy=chosen, optimize=optimize, graphs=has_graphs
            )
            precision = choose_precision(network, where, start, graphs=has_graphs)
        warn_of_emulation(precision, where)
        self._precision: Precision = precision
        if side_inputs:
            check_side_inputs(network, side_inputs)
            chosen = network.with_side_inputs(chosen, side_inputs)
        self._policy = chosen if max_memory_bytes is None else replace(chosen, max_bytes=max_memory_bytes)
        if optimize:
            self._network = prepare_network(network, target, precision, winograd=not compile)
        elif target is None or next(network.parameters()).device == target:
            self._network = network.eval()
        else:
            self._network = copy_network(network, target).eval()
        if compile:
            self._network = compile_network(self._network, self.device)
        self._normalise, self._decide = normalise, decide
        self._graphs: Graphs | None = None
        if graphs and not compile and self.device.type == "cuda":
            self._graphs = Graphs(CudaRecorder(self.device))
            self._network = self._graphs.replaying(self._network)
            self._normalise = self._graphs.wrap("normalise", normalise)
            self._decide = self._graphs.wrap("decide", decide)
        self._uploads, self._downloads = Uploads(self.device), Downloads(self.device)
        self._objects = ObjectIds()
        self._id_type: np.dtype[Any] = id_type(())
        self._prediction: Prediction | None = None  # of the last frame, if the network can show something of it
        with torch.no_grad():
            self._memory: ClipMemory = self._network.new_memory(self._policy)

    @property
    def network(self) -> VOSNetwork[Any, Any]:
        """The network that runs: the model's own, or an equal one rearranged for inference."""
        return self._network

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network; what was chosen, if it was ``auto``."""
        return self._precision

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects tracked now."""
        return self._objects.ids

    @property
    def num_frames(self) -> int:
        """Frames processed so far."""
        return self._inputs.next_index

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

    @property
    def works_ahead(self) -> bool:
        """Whether :meth:`submit` returns before the device is done, as on CUDA devices."""
        return self.device.type == "cuda"

    @property
    def graph_states(self) -> Mapping[str, str]:
        """For each part that CUDA graphs may replay "replayed", "not yet", or why it never will be."""
        return {} if self._graphs is None else self._graphs.states

    def step(self, frame: Any, mask: Any = None, *, absent: Collection[int] = ()) -> FrameResult:
        """Process the next frame.

        Args:
            frame: RGB (or BGR, see ``color``): a NumPy array or PyTorch tensor, uint8 or 0-1, of shape (H, W, 3) or
                (3, H, W), or a Pillow image; see :func:`vos_zoo.media.arrays.to_frame`.
            mask: Optional annotation of this frame, as array, tensor or image: object id per pixel, shape (H, W);
                booleans mark object 1, several of them objects 1 to N; see :func:`vos_zoo.media.arrays.to_mask`. Ids
                that are new become tracked objects; ids already tracked are corrected. Objects that do not appear in
                the mask are segmented as usual, outside the annotated pixels.
            absent: Tracked objects that this frame does not show. Their masks are empty in it, and the memory
                holds their absence; they stay tracked and may reappear. :meth:`remove` forgets an object.

        Returns:
            The frame's mask. Annotated objects are returned exactly as annotated.

        Raises:
            VideoError: If the frame is not an RGB image or has another size than the frames before.
            MaskError: If the mask holds no integers or has another size than the frame, or an absent object is not
                tracked or in the mask.
            OutOfMemoryError: If the device runs out of memory; the session stays usable.
        """
        return self.submit(frame, mask, absent=absent).result()

    def submit(self, frame: Any, mask: Any = None, *, absent: Collection[int] = ()) -> PendingResult:
        """Begin to process the next frame, whose result can be fetched while the device works on the one after it.

        Args:
            frame: See :meth:`step`.
            mask: See :meth:`step`; not to be changed before the result is fetched.
            absent: See :meth:`step`.

        Returns:
            What waits for the result. The order in which results are asked for does not matter.

        Raises:
            VosZooError: As :meth:`step` says.
        """
        given = self._inputs.take(frame, mask, absent, self._objects)
        failure: OutOfMemoryError | None = None
        try:
            with torch.inference_mode(), arithmetic(self._precision, self.device), self._memory.attempt():
                result = self._step(given)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failure = OutOfMemoryError(
                self._out_of_memory_message(given.sizes, len(set(self._objects.ids) | set(given.annotated)))
            )
        if failure is not None:
            if self._graphs is not None:
                self._graphs.release("the device ran out of memory")
            # Raised out here, it does not remember the original, whose traceback holds the activations.
            raise failure
        self._inputs.accept(given)
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
        self._objects, self._prediction = objects, None

    def watch(self, name: str) -> None:
        """Also compute a view that costs extra, from the next frame on; see :meth:`view`.

        Args:
            name: One of the network's ``views``.

        Raises:
            ConfigError: If this network does not show it.
        """
        self._check_view(name)
        self._network.watch(name, self._memory)

    def view(self, name: str) -> FrameView | None:
        """Return a view of the last frame.

        None if that frame was not predicted because all its objects were annotated, and after an object was removed
        until the next frame.

        Args:
            name: One of the network's ``views``.

        Raises:
            ConfigError: If this network does not show it.
        """
        self._check_view(name)
        geometry = self._inputs.sizes
        if self._prediction is None or geometry is None:
            return None
        shown = self._network.view(name, self._prediction)
        planes = shown.map.float().unsqueeze(1)
        padded = F.interpolate(planes, geometry.padded_size, mode="bilinear", align_corners=False)
        pixels: NDArray[np.float32] = geometry.to_frame(geometry.crop(padded)[0, 0]).cpu().numpy()
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

    def _step(self, given: Given[FrameGeometry]) -> PendingResult:
        network, memory, geometry = self._network, self._memory, given.sizes
        mask, annotated, is_open = given.mask, given.annotated, given.is_open
        memory.tick()
        known = len(self._objects)
        needs_prediction = any(is_open is not None or object_id not in annotated for object_id in self._objects.ids)
        if not needs_prediction and not annotated:  # nothing to track yet
            background = torch.ones(1, *geometry.working_size, dtype=torch.float32, device=self.device)
            self._prediction = None
            empty_mask = np.zeros(geometry.frame_size, self._id_type)
            return PendingResult(
                self.num_frames, lambda: empty_mask, self._id_type, None, None, (), _ordinary(background)
            )
        prediction: Prediction | None = None
        pixels = self._uploads.send(geometry.scale(given.frame))
        features = network.encode(self._normalise(pixels, geometry.padding, network.pads_before_normalisation))
        if needs_prediction:
            prediction = network.predict(features, memory)
            probabilities = torch.sigmoid(prediction.logits.float())
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
        kind = np.promote_types(self._id_type, id_type(objects.ids))
        sizes = (geometry.padding, geometry.working_size, geometry.frame_size)
        if annotated:
            decision = decide(probabilities, sizes, objects.ids, kind.name, is_open=is_open, annotated=annotated)
        else:
            decision = self._decide(probabilities, sizes, objects.ids, kind.name)
        labels = self._downloads.fetch(decision.labels)
        result = PendingResult(
            self.num_frames, labels.array, kind, mask, is_open, objects.ids, _ordinary(decision.probabilities)
        )
        # Last, so that a frame that fails before has changed nothing.
        if annotated or memory.is_due:
            masks = decision.padded[:, 1:]
            if network.pads_masks_with_zeros:
                masks = geometry.blank_padding(masks)
            network.memorize(features, masks, memory, reference=planes, prediction=prediction)
        self._objects = objects
        self._prediction = prediction if network.views else None
        self._id_type = kind
        return result

    def _estimate(self, geometry: FrameGeometry, objects: int) -> SessionEstimate:
        cost = self._network.memory_cost(self._policy, geometry.padded_size, objects)
        frames = cost.max_frames
        if self._policy.max_bytes is not None:
            budget = self._policy.max_bytes // cost.bytes_per_frame
            frames = budget if frames is None else min(frames, budget)
        scale = 1.0 if half_type(self._precision) is None else 0.5
        copies = 1 if self._graphs is None else 2  # graphs keep memory of their own
        weights = [*self._network.parameters(), *self._network.buffers()]
        return SessionEstimate(
            working_size=geometry.padded_size,
            objects=objects,
            weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in weights),
            frame_bytes=int(cost.bytes_per_frame * scale),
            max_memory_frames=frames,
            working_bytes=int(cost.working_bytes * scale * copies),
        )

    def _out_of_memory_message(self, geometry: FrameGeometry, objects: int) -> str:
        height, width = geometry.working_size
        estimate = self._estimate(geometry, objects)
        smaller = max(self._network.stride, int(min(height, width) * 0.7) // 16 * 16)
        fewer = max(2, self.memory_frames // 2)
        return (
            f"Out of memory on {self.device} at frame {self.num_frames}: {width}x{height} pixels, {objects} objects, "
            f"{self.memory_frames} frames in memory (about {estimate.working_bytes / 2**20:.0f} MiB for the frame and "
            f"{self.memory_bytes / 2**20:.0f} MiB of memory). Settings that take about half: size={smaller}; "
            f"policy with max_frames={fewer}; "
            + (f"{max(1, objects // 2)} objects at a time." if half_type(self._precision) else "precision='bf16'.")
        )


def _working_size(
    size: WorkingSize | Literal["native"], native: int | tuple[int, int], frame_size: tuple[int, int]
) -> WorkingSize:
    return native_size(native, frame_size) if size == "native" else size


def _fit(
    working_size: Callable[[tuple[int, int]], WorkingSize], stride: int, frame_size: tuple[int, int]
) -> FrameGeometry:
    return FrameGeometry.fit(frame_size, working_size(frame_size), stride)


def _ordinary(tensor: Tensor) -> Tensor:
    """Copy a tensor of inference mode into one that takes part in everything."""
    with torch.inference_mode(False), torch.no_grad():
        return tensor.clone(memory_format=torch.contiguous_format)
