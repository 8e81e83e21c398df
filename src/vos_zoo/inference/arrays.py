"""Frames and masks as users hand them over: checked once, with what to do about everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_zoo.errors import MaskError, VideoError

__all__ = ["check_frame", "check_mask"]


def check_frame(frame: Any, number: int) -> None:
    """Refuse what is no RGB frame.

    Args:
        frame: What was handed over as a frame.
        number: The frame's number, for messages.

    Raises:
        VideoError: If it is not uint8 of shape (H, W, 3).
    """
    wanted = "Expected RGB values 0-255 as a NumPy array, uint8 of shape (height, width, 3)"
    if not isinstance(frame, np.ndarray):
        raise VideoError(f"Frame {number} is {_named(frame)}. {wanted}; {_frame_advice(frame)}.")
    if frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8:
        return
    advice = "convert it first"
    if frame.dtype != np.uint8:
        advice = "scale the values to 0-255 and call .astype(np.uint8)"
    elif frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
        advice = "repeat a grey image: np.repeat(grey.reshape(*grey.shape[:2], 1), 3, axis=2)"
    elif frame.ndim == 3 and frame.shape[2] == 4:
        advice = "drop the alpha channel: frame[..., :3]"
    elif frame.ndim == 3 and frame.shape[0] == 3:
        advice = "put the channels last: frame.transpose(1, 2, 0)"
    elif frame.ndim == 4:
        advice = "give the frames of a video one at a time"
    raise VideoError(f"Frame {number} has shape {frame.shape} and type {frame.dtype}. {wanted}; {advice}.")


def check_mask(mask: Any, number: int) -> None:
    """Refuse what is no mask of object ids; a mask of booleans is one object with id 1.

    Args:
        mask: What was handed over as a mask.
        number: The frame's number, for messages.

    Raises:
        MaskError: If it does not hold integers or booleans, or is not of shape (H, W).
    """
    wanted = "Expected one integer object id per pixel as a NumPy array of shape (height, width)"
    if not isinstance(mask, np.ndarray):
        raise MaskError(f"The mask of frame {number} is {_named(mask)}. {wanted}; {_mask_advice(mask)}.")
    if mask.ndim == 2 and mask.dtype.kind in "bui":
        return
    advice = "vos_zoo.read_mask reads mask files"
    if mask.ndim == 3 and mask.shape[2] == 1:
        advice = "take the only channel: mask[..., 0]"
    elif mask.ndim == 3 and mask.dtype.kind == "b":
        advice = "give each of the stacked masks an id: max over i of (i + 1) * masks[i]"
    elif mask.ndim == 2:
        advice = "threshold scores (mask > 0.5), or round ids and call .astype(np.int32)"
    raise MaskError(f"The mask of frame {number} has shape {mask.shape} and type {mask.dtype}. {wanted}; {advice}.")


def _named(thing: object) -> str:
    return (
        "None" if thing is None else f"a {type(thing).__module__}.{type(thing).__qualname__}".replace("builtins.", "")
    )


def _frame_advice(frame: object) -> str:
    if isinstance(frame, Tensor) and frame.dtype == torch.uint8 and frame.shape[-1:] == (3,):
        return "frame.cpu().numpy() makes one"
    if isinstance(frame, Tensor):
        return "for a tensor (3, H, W) of 0-1: (255 * frame).byte().permute(1, 2, 0).cpu().numpy()"
    if _is_picture(frame):
        return 'np.asarray(image.convert("RGB")) gives it'
    if _is_path(frame):
        return "vos_zoo.media.reader.read_image reads an image, and segment_video takes paths of whole videos"
    if isinstance(frame, (list, tuple)):
        return "np.array(frame, dtype=np.uint8) makes one"
    return "check what gives the frames; at the end of a video many readers give None"


def _mask_advice(mask: object) -> str:
    if isinstance(mask, Tensor):
        return "mask.cpu().numpy() makes one"
    if _is_picture(mask):
        return "np.asarray(image) gives it for palette and grey images"
    if _is_path(mask):
        return "vos_zoo.read_mask reads mask files"
    return "np.array(mask, dtype=np.int32) makes one of nested lists"


def _is_picture(thing: object) -> bool:
    from PIL import Image

    return isinstance(thing, Image.Image)


def _is_path(thing: object) -> bool:
    return isinstance(thing, (str, bytes)) or hasattr(thing, "__fspath__")
