"""Frames and masks that a program hands over: NumPy arrays, PyTorch tensors and Pillow images, converted in one place.

Neither PyTorch nor Pillow is imported here: where nobody imported them, nothing can be a tensor or an image.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError, MaskError, VideoError

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import TypeIs

    from vos_zoo.media.mask_decoding import Mask
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["ColorOrder", "as_array", "check_color", "is_array", "is_mask", "to_frame", "to_mask"]

ColorOrder = Literal["rgb", "bgr"]
"""Order of the colours of frames: that of nearly everybody, or that of OpenCV."""

_FRAME = "Expected RGB values 0-255 (uint8), or fractions 0-1, of shape (height, width, 3) or (3, height, width)"
_MASK = "Expected one integer object id per pixel, shape (height, width), or one boolean mask per object"
_WHITE = 255
_LOSSLESS_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def check_color(color: ColorOrder) -> None:
    """Refuse what is not an order of colours.

    Raises:
        ConfigError: If it is neither ``"rgb"`` nor ``"bgr"``.
    """
    if color not in ("rgb", "bgr"):
        raise ConfigError(f"The order of colours is {color!r}. Expected 'rgb', or 'bgr' for frames of OpenCV.")


def to_frame(frame: Any, name: str, *, color: ColorOrder = "rgb") -> NDArray[np.uint8]:
    """Turn what was handed over as a frame into an RGB array.

    Args:
        frame: A NumPy array, a PyTorch tensor on any device, anything else that NumPy takes for an array, or a Pillow
            image (its pixels as they are, whatever orientation it notes). Arrays and tensors are uint8, or floating
            with values 0-1, which are rounded to the nearest of the 256 levels; channels come last or first. An array
            that could be both, (3, W, 3), has its channels last.
        name: What messages call it, such as "Frame 3".
        color: Order of an array's or a tensor's colours. Images know theirs.

    Returns:
        RGB, uint8, shape (H, W, 3); a view of the caller's pixels where nothing had to be converted.

    Raises:
        VideoError: If it is none of these; the message says what to do.

    Example:
        >>> to_frame(np.full((3, 2, 4), 0.5, np.float32), "Frame 0")[0, 0].tolist()
        [128, 128, 128]
    """
    if _is_picture(frame):
        return _picture_frame(frame, name)
    if not is_array(frame):
        raise VideoError(f"{name} is {_kind(frame)}. {_FRAME}, or a Pillow image; {_frame_advice(frame)}.")
    array = as_array(frame)
    is_fraction = array.dtype.kind == "f"
    if array.ndim == 3 and 3 in (array.shape[0], array.shape[2]) and (is_fraction or array.dtype == np.uint8):
        pixels = array if array.shape[2] == 3 else array.transpose(1, 2, 0)
        if is_fraction:
            pixels = _scale(pixels, name)
        return pixels if color == "rgb" else pixels[:, :, ::-1]
    advice = "convert it first"
    if array.dtype != np.uint8 and not is_fraction:
        advice = "scale the values to 0-255 and call .astype(np.uint8)"
    elif array.ndim == 2 or (array.ndim == 3 and 1 in (array.shape[0], array.shape[2])):
        advice = "repeat a grey image: np.repeat(grey.reshape(height, width, 1), 3, axis=2)"
    elif array.ndim == 3 and 4 in (array.shape[0], array.shape[2]):
        advice = "drop the alpha channel: frame[..., :3]"
    elif array.ndim == 4:
        advice = "give the frames of a video one at a time"
    raise VideoError(f"{name} has shape {array.shape} and type {array.dtype}. {_FRAME}; {advice}.")


def to_mask(mask: Any, name: str, *, void: VoidChoice = None) -> Mask:
    """Turn what was handed over as the mask of one frame into an array of object ids.

    Args:
        mask: Integer ids, shape (H, W); booleans, shape (H, W), which mark object 1; a stack (N, H, W) or a list of N
            boolean masks, which mark objects 1 to N and must not overlap; as NumPy arrays, PyTorch tensors on any
            device, or Pillow images (as in a mask file, an image of 0 and 255 alone is one object with id 1).
        name: What messages call it, such as "The mask of frame 3".
        void: The value of pixels without an opinion, which may be below 0.

    Returns:
        Object ids, shape (H, W), integers; as given where they are ``void``.

    Raises:
        MaskError: If it is none of these, an id is below 0, or two objects of a stack overlap; the message says what to
            do.

    Example:
        >>> to_mask([np.array([[True, False]]), np.array([[False, True]])], "The mask").tolist()
        [[1, 2]]
    """
    if _is_picture(mask):
        from vos_zoo.media.mask_decoding import decode_picture

        decoded = decode_picture(mask, name)
        is_one_object = decoded.is_black_and_white and void != _WHITE
        return (decoded.ids != 0).astype(np.uint8) if is_one_object else decoded.ids
    if isinstance(mask, Sequence) and not isinstance(mask, (str, bytes)):
        return _stack([_one_of(entry, number, name) for number, entry in enumerate(mask)], name)
    if not is_array(mask):
        raise MaskError(f"{name} is {_kind(mask)}. {_MASK}; {_mask_advice(mask)}.")
    array = as_array(mask)
    if array.ndim == 2 and array.dtype.kind in "ui":
        _check_not_negative(array, name, void)
        return array
    if array.ndim == 2 and array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.ndim == 3 and array.dtype.kind == "b" and array.shape[2] != 1:
        return _stack(list(array), name) if len(array) else np.zeros(array.shape[1:], np.uint8)
    advice = "vos_zoo.read_mask reads mask files"
    if array.ndim == 3 and array.shape[2] == 1:
        advice = "take the only channel: mask[..., 0]"
    elif array.ndim == 3 and array.shape[0] == 1:
        advice = "take the only channel: mask[0]"
    elif array.ndim == 3 and array.dtype.kind in "ui" and array.shape[2] != 3:
        advice = (
            "if each of the stacked masks is one object, give booleans (mask > 0); if each holds the ids of a frame, "
            "give {frame number: mask}"
        )
    elif array.ndim == 2:
        advice = "threshold scores (mask > 0.5), or round ids and call .astype(np.int32)"
    raise MaskError(f"{name} has shape {array.shape} and type {array.dtype}. {_MASK}; {advice}.")


def is_array(thing: object) -> bool:
    """Tell whether something is an array, a tensor, or says itself how to become an array."""
    return isinstance(thing, np.ndarray) or (
        hasattr(thing, "__array__") and not isinstance(thing, (type, np.generic)) and not _is_picture(thing)
    )


def as_array(thing: Any) -> NDArray[Any]:
    """Give an array of what :func:`is_array` takes; tensors are copied from their device, without gradients."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(thing, torch.Tensor):
        tensor = thing.detach().cpu()
        return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    return np.asarray(thing)


def is_mask(thing: object) -> bool:
    """Tell whether something is one mask, or the masks of a frame's objects, rather than a path or masks by frame."""
    return _is_picture(thing) or is_array(thing) or (isinstance(thing, Sequence) and not _is_path(thing))


def _picture_frame(image: Image, name: str) -> NDArray[np.uint8]:
    if image.mode not in _LOSSLESS_MODES:
        raise VideoError(
            f"{name} is an image of mode {image.mode}, with more than 8 bits per value. {_FRAME}; scale its values "
            "first, or save the frames and give their folder, which scales all of them alike."
        )
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _scale(fractions: NDArray[Any], name: str) -> NDArray[np.uint8]:
    low, high = (float(fractions.min()), float(fractions.max())) if fractions.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also false if one of them is NaN
        raise VideoError(
            f"{name} is of type {fractions.dtype} and holds values from {low:g} to {high:g}. {_FRAME}; convert values "
            "0-255 by .astype(np.uint8) (.byte() of a tensor), and clip others to 0-1."
        )
    return np.rint(fractions * 255).astype(np.uint8)


def _check_not_negative(ids: Mask, name: str, void: VoidChoice) -> None:
    if ids.dtype.kind == "u" or not ids.size or ids.min() >= 0:
        return
    negative = [int(value) for value in np.unique(ids) if value < 0 and value != void]
    if negative:
        raise MaskError(
            f"{name} holds the value {negative[0]}. Object ids are whole numbers from 1 on, and 0 is background. If it "
            f"marks pixels without an opinion, say void={negative[0]} (`--void {negative[0]}`); if it marks an object, "
            "renumber it."
        )


def _one_of(entry: Any, number: int, name: str) -> NDArray[np.bool_]:
    """Give one boolean mask of a list."""
    if _is_picture(entry) or not is_array(entry):
        if _is_picture(entry) and entry.mode == "1":
            return np.asarray(entry)
        raise MaskError(f"{name} is a list that holds {_kind(entry)}. {_MASK}; {_mask_advice([entry])}.")
    array = as_array(entry)
    if array.ndim == 2 and array.dtype.kind == "b":
        return array
    raise MaskError(
        f"{name} is a list whose mask {number} has shape {array.shape} and type {array.dtype}. {_MASK}; if each "
        "mask of the list is one object, give booleans (mask > 0); if each belongs to a frame, give "
        "{frame number: mask}."
    )


def _stack(masks: list[NDArray[np.bool_]], name: str) -> Mask:
    """Number boolean masks from 1."""
    shapes = {mask.shape for mask in masks}
    if len(shapes) != 1:
        found = "is an empty list" if not masks else f"is a list of masks of different shapes {sorted(shapes)}"
        raise MaskError(f"{name} {found}. {_MASK}.")
    ids = np.zeros(shapes.pop(), np.min_scalar_type(len(masks)))
    for number, mask in enumerate(masks, start=1):
        shared = ids[mask]
        if shared.any():
            other = int(shared[shared != 0][0])
            raise MaskError(
                f"{name} marks {np.count_nonzero(shared == other)} pixels as object {other} and as object {number}. "
                "Objects must not overlap; give an array of ids that says which one is on top. If these are several "
                "proposals for one object, choose one of them."
            )
        ids[mask] = number
    return ids


def _kind(thing: object) -> str:
    return (
        "None" if thing is None else f"a {type(thing).__module__}.{type(thing).__qualname__}".replace("builtins.", "")
    )


def _frame_advice(frame: object) -> str:
    if _is_path(frame):
        return "vos_zoo.media.reader.read_image reads an image, and segment_video takes paths of whole videos"
    if isinstance(frame, (list, tuple)):
        return "np.array(frame, dtype=np.uint8) makes one"
    return "check what gives the frames; at the end of a video many readers give None"


def _mask_advice(mask: object) -> str:
    if _is_path(mask):
        return "vos_zoo.read_mask reads mask files"
    if isinstance(mask, dict):
        return "give the mask of this frame alone"
    return "np.array(mask, dtype=np.int32) makes an array of nested lists"


def _is_picture(thing: object) -> TypeIs[Image]:
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(thing, pillow.Image)


def _is_path(thing: object) -> bool:
    return isinstance(thing, (str, bytes)) or hasattr(thing, "__fspath__")
