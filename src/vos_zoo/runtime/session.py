"""One video's state around exported graphs: frames go in one at a time, masks come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vos_zoo.errors import CheckpointError, MaskError, ShapeError
from vos_zoo.inference.inputs import Given, SessionInputs
from vos_zoo.inference.objects import ObjectIds, id_type
from vos_zoo.inference.sizes import check_size, native_size
from vos_zoo.runtime.aggregation import aggregate, sigmoid
from vos_zoo.runtime.geometry import ArrayGeometry
from vos_zoo.runtime.graphs import OnnxGraphs
from vos_zoo.runtime.manifest import CARRIED, Array, Manifest, read_manifest
from vos_zoo.runtime.memory import Group, GroupState, fill_up, new_state
from vos_zoo.runtime.resize import resize_plane
from vos_zoo.runtime.saved_state import SavedGroup, SavedState, read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from vos_zoo.inference.sizes import WorkingSize
    from vos_zoo.media.mask_values import VoidChoice
    from vos_zoo.runtime.graphs import Graphs

__all__ = ["FrameResult", "GraphSession"]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What is known about one frame.

    Args:
        index: Number of the frame in its session, from 0.
        mask: Object id per pixel, 0 for background, shape (H, W) in the frame's own size. Its type is the smallest of
            uint8, uint16 and int32 that holds all ids so far.
        object_ids: Tracked objects, in the order of ``probabilities``.
        probabilities: Final probabilities at working size, float32 (1 + O, h, w), background first. They sum to 1.
    """

    index: int
    mask: NDArray[np.integer[Any]]
    object_ids: tuple[int, ...]
    probabilities: NDArray[np.float32]

    def probabilities_at_frame_size(self) -> NDArray[np.float32]:
        """Enlarge the probabilities to the frame's own size, bilinearly: float32 (1 + O, H, W)."""
        height, width = self.mask.shape
        return np.stack([resize_plane(plane, (height, width)) for plane in self.probabilities])


class GraphSession:
    """Segment one video frame by frame with exported graphs: :class:`vos_zoo.VideoSession` without torch.

    Args:
        folder: What ``vos-zoo export-onnx`` wrote.
        size: How the network sees frames; masks come back in the frames' own size. A number is the short side in pixels
            that larger frames are made smaller to; a pair (height, width) is the size of all frames; None keeps every
            size; ``"native"`` is what the network was made for. Graphs of a fixed size show what fits into it.
        provider: What computes: ``cpu``, ``cuda``, ``coreml`` or another execution provider of ONNX Runtime.
        threads: Threads that one operation may use; None leaves it to ONNX Runtime.
        color: Order of the frames' colours: "rgb", or "bgr" as OpenCV reads them.
        void: Value of pixels without an opinion in given masks: there, objects are segmented as if nothing had been
            given. ``"auto"`` takes 255 for it where it rims objects; None means that every value is an id.
        graphs: What runs the graphs instead of ONNX Runtime.

    Raises:
        MissingFileError: If the folder or one of its files does not exist.
        CheckpointError: If a file was cut or changed, or the graphs are of another version.
        ConfigError: If an argument is out of range, or there is no such provider.
        MissingExtraError: If ONNX Runtime is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        size: WorkingSize | Literal["native"] = "native",
        provider: str = "cpu",
        threads: int | None = None,
        color: Literal["rgb", "bgr"] = "rgb",
        void: VoidChoice = "auto",
        graphs: Graphs | None = None,
    ) -> None:
        check_size(size)
        self._manifest = read_manifest(folder)
        self._size = size
        self._inputs = SessionInputs(self._fit, self._asked_size, color=color, void=void)
        self._graphs: Graphs = graphs or OnnxGraphs(Path(folder), self._manifest, provider=provider, threads=threads)
        self._objects = ObjectIds()
        self._id_type: np.dtype[Any] = id_type(())
        self._groups: list[Group] = []
        self._clock = 0
        self._frames_since_kept = 0

    @property
    def manifest(self) -> Manifest:
        """What the folder says about its graphs, the palette of masks included."""
        return self._manifest

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
        """Frames in memory; 1 for a memory of constant size."""
        return max((group.state.num_frames for group in self._groups), default=0)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the memory."""
        return sum(group.state.nbytes for group in self._groups)

    def step(
        self, frame: NDArray[np.uint8], mask: NDArray[np.integer[Any]] | None = None, *, absent: Collection[int] = ()
    ) -> FrameResult:
        """Process the next frame.

        Args:
            frame: RGB (or BGR, see ``color``), values 0-255, shape (H, W, 3).
            mask: Optional annotation of this frame, object id per pixel, shape (H, W); booleans mark object 1. Ids that
                are new become tracked objects; ids already tracked are corrected. Objects that do not appear in the
                mask are segmented as usual, outside the annotated pixels.
            absent: Tracked objects that this frame does not show. Their masks are empty in it, and the memory learns
                so; they stay tracked and may come back. :meth:`remove` forgets an object.

        Returns:
            The frame's mask. Annotated objects come back exactly as annotated.

        Raises:
            VideoError: If the frame is not an RGB image or has another size than the frames before.
            MaskError: If the mask holds no integers or has another size than the frame, holds more objects than the
                graphs take, or an absent object is not tracked or in the mask.
            OutOfMemoryError: If there is too little memory; the session stays usable.
        """
        given = self._inputs.take(frame, mask, absent, self._objects)
        newcomers = [object_id for object_id in given.annotated if object_id not in self._objects]
        self._check_count(len(self._objects) + len(newcomers))
        objects = ObjectIds()
        objects.add((*self._objects.ids, *newcomers))
        result, groups, is_kept = self._step(given, objects)
        self._inputs.accept(given)
        self._clock += 1
        self._frames_since_kept = 0 if is_kept else self._frames_since_kept + 1
        self._objects = objects
        self._id_type = result.mask.dtype
        self._groups = groups
        return result

    def remove(self, object_id: int) -> None:
        """Stop tracking an object.

        Raises:
            MaskError: If the id is not tracked.
        """
        objects = ObjectIds()
        objects.add(self._objects.ids)
        gone = objects.remove(object_id)
        groups = []
        for group in self._groups:
            kept = [index for index, plane in enumerate(group.planes) if plane != gone]
            if kept:
                state = group.state if len(kept) == len(group.planes) else group.state.select(kept)
                planes = [group.planes[index] for index in kept]
                groups.append(Group([plane - (plane > gone) for plane in planes], state))
        self._objects, self._groups = objects, groups

    def save_state(self, path: str | Path) -> None:
        """Write everything that the session knows of its video into a file, for :meth:`load_state`.

        Args:
            path: The file, which must not exist; ``.npz`` is its usual ending.

        Raises:
            OutputExistsError: If it exists.
        """
        saved = [group.state.save() for group in self._groups]
        sizes = self._inputs.sizes
        state = SavedState(
            graphs=self._graph_names(),
            frame_size=None if sizes is None else sizes.frame_size,
            object_ids=self._objects.ids,
            id_type=self._id_type.name,
            next_index=self.num_frames,
            frames_since_kept=self._frames_since_kept,
            groups=tuple(
                SavedGroup(tuple(group.planes), slots) for group, (_, slots) in zip(self._groups, saved, strict=True)
            ),
        )
        write_state(Path(path), state, [arrays for arrays, _ in saved])

    def load_state(self, path: str | Path) -> None:
        """Continue where another session with the same graphs and size was saved; the state of this one is lost.

        Args:
            path: What :meth:`save_state` wrote.

        Raises:
            MissingFileError: If there is no such file.
            CheckpointError: If it is not a saved state, was cut, or belongs to other graphs.
            ShapeError: If the arrays have another size than this session's frames give.
        """
        state, arrays = read_state(Path(path))
        if state.graphs != self._graph_names():
            raise CheckpointError(
                f"The state in `{path}` belongs to other graphs. Open the folder that it was saved with."
            )
        sizes = None if state.frame_size is None else self._fit(state.frame_size)
        groups = []
        for saved, parts in zip(state.groups, arrays, strict=True):
            assert sizes is not None
            for array in self._manifest.memory.state:
                expected = self._resolve(array, len(saved.planes), sizes.padded_size, max(1, len(saved.slots)))
                found = parts[array.name].shape if array.name in parts else None
                if found != expected:
                    raise ShapeError(
                        f"The state in `{path}` has {array.name!r} of shape {found}. Expected {expected}: it belongs "
                        "to a session that shows frames in another size. Open this session with the same size."
                    )
            blank = self._new_state(len(saved.planes), sizes.padded_size)
            groups.append(Group(list(saved.planes), blank.load(parts, saved.slots)))
        self._objects = ObjectIds()
        self._objects.add(state.object_ids)
        self._groups, self._id_type = groups, np.dtype(state.id_type)
        self._clock, self._frames_since_kept = state.next_index, state.frames_since_kept
        self._inputs.sizes, self._inputs.next_index = sizes, state.next_index

    def _graph_names(self) -> tuple[str, ...]:
        return tuple(entry.sha256 for entry in self._manifest.files)

    def _step(self, given: Given[ArrayGeometry], objects: ObjectIds) -> tuple[FrameResult, list[Group], bool]:
        """Return the result, the groups after it, and whether the frame stays in memory."""
        geometry, manifest = given.sizes, self._manifest
        annotated, is_open = given.annotated, given.is_open
        kind = np.promote_types(self._id_type, id_type(objects.ids))
        known = len(self._objects)
        needs_prediction = any(is_open is not None or object_id not in annotated for object_id in self._objects.ids)
        if not needs_prediction and not annotated:  # nothing to track yet
            background = np.ones((1, *geometry.working_size), np.float32)
            result = FrameResult(self.num_frames, np.zeros(geometry.frame_size, kind), (), background)
            return result, self._groups, False
        image = self._graphs.to_value(geometry.to_image(given.frame, manifest))
        features = {"image": image, **self._graphs.run("encode", {"image": image})}
        carried: list[dict[str, Any]] = [{} for _ in self._groups]
        probabilities = np.zeros((len(objects), *geometry.padded_size), np.float32)
        if needs_prediction or (self._groups and manifest.memory.carries):
            for group, left in zip(self._groups, carried, strict=True):
                results = self._graphs.run("segment", features | group.state.values())
                logits = self._graphs.to_array(results.pop("logits"))[0]
                probabilities[group.planes] = sigmoid(logits[: len(group.planes)])
                left.update(results)
            if annotated:
                # An annotated frame is predicted like any other before the given masks change it.
                probabilities[:known] = aggregate(probabilities[:known])[1:]
        planes = objects.planes(annotated)
        if annotated:
            self._set_given(probabilities, planes, given)
        final = aggregate(probabilities)
        cropped = np.ascontiguousarray(geometry.crop(final))
        labels = _label_pixels(cropped, objects.ids, given, kind)
        result = FrameResult(self.num_frames, labels, objects.ids, cropped)
        rules = manifest.memory
        is_due = rules.keep_latest or self._frames_since_kept + 1 >= rules.every
        if not annotated and not is_due:
            return result, self._groups, False
        masks = final[1:]
        if manifest.pads_masks_with_zeros:
            masks = geometry.blank_padding(masks)
        is_temporary = rules.keep_latest and not planes and self._frames_since_kept + 1 < rules.every
        groups = self._memorize(features, carried, masks, planes, known, is_temporary=is_temporary)
        return result, groups, not is_temporary

    def _set_given(self, probabilities: NDArray[np.float32], planes: list[int], given: Given[ArrayGeometry]) -> None:
        """Put the given masks into the predicted ones."""
        assert given.mask is not None
        exact = given.sizes.to_planes(given.mask, given.annotated)
        predicted = probabilities * (1 - exact.max(axis=0))
        if given.is_open is not None:
            # Absent objects, which no pixel shows, stay absent.
            is_shown = np.array([bool((given.mask == object_id).any()) for object_id in given.annotated])
            gaps = given.sizes.to_planes(given.is_open.astype(np.uint8), [1])[0] > 0
            exact = np.where(gaps & is_shown[:, None, None], predicted[planes], exact)
        probabilities[:] = predicted
        probabilities[planes] = exact

    def _memorize(
        self,
        features: dict[str, Any],
        carried: list[dict[str, Any]],
        masks: NDArray[np.float32],
        reference: list[int],
        known: int,
        *,
        is_temporary: bool,
    ) -> list[Group]:
        """Return the groups after a frame with these masks (O, H, W), of which ``reference`` were annotated."""
        total = masks.sum(axis=0)
        size = (masks.shape[1], masks.shape[2])
        groups = self._split(carried, reference)
        if known < len(masks):
            newcomers = list(range(known, len(masks)))
            count = len(newcomers)
            groups.append((Group(newcomers, self._new_state(count, size)), self._nothing(count, size)))
        after = []
        for group, left in groups:
            own = masks[group.planes]
            others = total - own if len(masks) > 1 else np.zeros_like(own)
            given = np.array([plane in reference for plane in group.planes], np.float32)
            claimed = masks[reference].max(axis=0, initial=0.0)
            arrays = {"masks": own[None], "others": others[None], "reference": given}
            values = features | group.state.values() | left
            values["claimed"] = self._graphs.to_value(claimed[None, None])
            for name, part in arrays.items():
                values[name] = self._graphs.to_value(fill_up(part, min(1, part.ndim - 1), self._manifest.objects))
            results = self._graphs.run("memorize", values)
            is_reference = bool(given.any())
            state = group.state.after(results, frame=self._clock + 1, reference=is_reference, temporary=is_temporary)
            after.append(Group(group.planes, state))
        for group in after:
            group.state.commit()
        return after

    def _split(self, carried: list[dict[str, Any]], reference: list[int]) -> list[tuple[Group, dict[str, Any]]]:
        """Return the groups with what they carry; a corrected object leaves its group where the memory wants it."""
        groups: list[tuple[Group, dict[str, Any]]] = []
        for group, left in zip(self._groups, carried, strict=True):
            corrected = [index for index, plane in enumerate(group.planes) if plane in reference]
            if not self._manifest.memory.splits_on_correction or len(corrected) in (0, len(group.planes)):
                groups.append((group, left))
                continue
            assert not left, "what segment leaves cannot be split"
            kept = [index for index in range(len(group.planes)) if index not in corrected]
            groups += [
                (Group([group.planes[index] for index in part], group.state.select(part)), {})
                for part in (kept, corrected)
            ]
        return groups

    def _new_state(self, objects: int, size: tuple[int, int]) -> GroupState:
        def shape_of(array: Array) -> tuple[int, ...]:
            return self._resolve(array, objects, size)

        return new_state(self._manifest.memory, shape_of, self._graphs, self._manifest.objects)

    def _nothing(self, objects: int, size: tuple[int, int]) -> dict[str, Any]:
        """Return zeros for what ``segment`` leaves for ``memorize``."""
        names = {f"{CARRIED}{name}" for name in self._manifest.memory.carries}
        return {
            array.name: self._graphs.to_value(np.zeros(self._resolve(array, objects, size), np.float32))
            for array in self._manifest.graphs["memorize"].inputs
            if array.name in names
        }

    def _resolve(self, array: Array, objects: int, size: tuple[int, int], frames: int = 1) -> tuple[int, ...]:
        height, width = size
        return array.resolve(height=height, width=width, objects=self._manifest.objects or objects, frames=frames)

    def _fit(self, frame_size: tuple[int, int]) -> ArrayGeometry:
        return ArrayGeometry.of(frame_size, self._working_size(frame_size), self._manifest)

    def _working_size(self, frame_size: tuple[int, int]) -> WorkingSize:
        return native_size(self._manifest.working_size, frame_size) if self._size == "native" else self._size

    def _asked_size(self, frame_size: tuple[int, int]) -> WorkingSize:
        """Return the size that frames should have, of which a session says if it cannot keep it."""
        return None if self._manifest.size is not None else self._working_size(frame_size)

    def _check_count(self, objects: int) -> None:
        most = self._manifest.objects
        if most is not None and objects > most:
            raise MaskError(
                f"The mask of frame {self.num_frames} makes it {objects} objects, and these graphs take {most} at "
                f"most. Remove objects, or export the model with `--objects {objects}` or `--objects dynamic`."
            )


def _label_pixels(
    probabilities: NDArray[np.float32], ids: tuple[int, ...], given: Given[ArrayGeometry], kind: np.dtype[Any]
) -> NDArray[np.integer[Any]]:
    """Give every pixel of a frame the most probable object; what the user gave stays exactly as given."""
    geometry = given.sizes
    best = geometry.to_frame(probabilities[0]).copy()
    winner = np.zeros(geometry.frame_size, np.uint8 if len(probabilities) <= 256 else np.int32)
    for plane, object_id in enumerate(ids, start=1):  # one plane at a time keeps memory small
        is_given = object_id in given.annotated
        if is_given and given.is_open is None:
            continue
        probability = geometry.to_frame(probabilities[plane])
        is_better = probability > best
        if is_given and given.is_open is not None:
            is_better &= given.is_open
        np.copyto(best, probability, where=is_better)
        winner[is_better] = plane
    labels: NDArray[np.integer[Any]] = np.array([0, *ids], dtype=kind)[winner]
    if given.mask is not None:
        is_id = given.mask != 0 if given.is_open is None else (given.mask != 0) & ~given.is_open
        np.copyto(labels, given.mask, where=is_id, casting="unsafe")  # ids were checked to fit
    return labels
