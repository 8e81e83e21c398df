"""STM (Oh et al., ICCV 2019) on a state dict in its authors' key scheme, without the ``module.`` prefix."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from . import blocks


class Features(NamedTuple):
    """What the query encoder gives for one frame, at batch 1."""

    image: torch.Tensor  # (1,3,H,W) in [0,1]
    key: torch.Tensor  # (1,128,h,w)
    value: torch.Tensor  # (1,512,h,w)
    stride8: torch.Tensor
    stride4: torch.Tensor


def encode_query(w, image):
    """(1,3,H,W) in [0,1], H and W multiples of 16, to Features."""
    normalised = (image - w["Encoder_Q.mean"]) / w["Encoder_Q.std"]
    x = blocks.conv(w, "Encoder_Q.conv1", normalised, stride=2, padding=3)
    stride4, stride8, stride16 = _trunk(w, "Encoder_Q", x)
    key = blocks.conv(w, "KV_Q_r4.Key", stride16, padding=1)
    value = blocks.conv(w, "KV_Q_r4.Value", stride16, padding=1)
    return Features(image, key, value, stride8, stride4)


def encode_memory(w, image, probabilities):
    """Image (1,3,H,W) in [0,1] and soft masks (K,H,W) to keys (K,128,h,w) and values (K,512,h,w)."""
    normalised = (image - w["Encoder_M.mean"]) / w["Encoder_M.std"]
    rest = blocks.others(probabilities).clamp(0, 1)
    x = (
        blocks.conv(w, "Encoder_M.conv1", normalised, stride=2, padding=3)
        + blocks.conv(w, "Encoder_M.conv1_m", probabilities[:, None], stride=2, padding=3)
        + blocks.conv(w, "Encoder_M.conv1_o", rest[:, None], stride=2, padding=3)
    )
    stride16 = _trunk(w, "Encoder_M", x)[2]
    key = blocks.conv(w, "KV_M_r4.Key", stride16, padding=1)
    return key, blocks.conv(w, "KV_M_r4.Value", stride16, padding=1)


def read_memory(query_key, keys, values):
    """(1,128,h,w), (K,128,T,h,w) and (K,512,T,h,w) to the readout (K,512,h,w); one affinity per object."""
    _, channels, height, width = query_key.shape
    query = query_key[0].flatten(1)
    readout = []
    for memory, value in zip(keys.flatten(2), values.flatten(2), strict=True):
        similarity = memory.T @ query / math.sqrt(channels)  # (N, hw)
        weight = torch.exp(similarity - similarity.amax(dim=0))
        readout.append(value @ (weight / weight.sum(dim=0)))
    return torch.stack(readout).unflatten(2, (height, width))


def decode(w, features, readout):
    """Readouts (K,512,h,w) to two logits per object, (K,2,H,W): not the object, the object."""
    logits = []
    for value in readout:
        x = blocks.conv(w, "Decoder.convFM", torch.cat([value[None], features.value], dim=1), padding=1)
        x = blocks.residual(w, "Decoder.ResMM", x)
        for step, skip in (("RF3", features.stride8), ("RF2", features.stride4)):
            side = blocks.residual(
                w, f"Decoder.{step}.ResFS", blocks.conv(w, f"Decoder.{step}.convFS", skip, padding=1)
            )
            x = blocks.residual(w, f"Decoder.{step}.ResMM", side + blocks.bilinear(x, 2))
        x = blocks.conv(w, "Decoder.pred2", F.relu(x), padding=1)
        logits.append(blocks.bilinear(x, 4)[0])
    return torch.stack(logits)


def object_probabilities(logits):
    """(K,2,H,W) logits to (K,H,W): the softmax over the two, second channel."""
    return torch.softmax(logits, dim=1)[:, 1]


class Memory:
    """Kept frames and the previous one; keys (K,128,h,w) and values (K,512,h,w) of each."""

    def __init__(self):
        self.kept, self.previous = [], []

    def add(self, keys, values, *, is_kept):
        """Take the frame that was just segmented, for good or until the next one."""
        self.previous = [] if is_kept else [(keys, values)]
        self.kept += [(keys, values)] if is_kept else []

    def read(self, query_key):
        entries = self.kept + self.previous
        keys = torch.stack([key for key, _ in entries], dim=2)
        return read_memory(query_key, keys, torch.stack([value for _, value in entries], dim=2))


def segment_clip(w, frames, first_mask, *, keep_every=5):
    """Segment a clip as the authors do: kept frames plus the previous one.

    Probabilities are cropped to the frame, and zeros are padded around the masks before they are memorised.

    Args:
        w: State dict in the authors' scheme.
        frames: (T,3,H,W) RGB in [0,1], any size.
        first_mask: (K,H,W) masks of frame 0, 0 or 1.
        keep_every: Frames whose index is a multiple of this stay in memory for good.

    Returns:
        Probabilities (T,K+1,H,W), background first.
    """
    count, _, height, width = frames.shape
    padding = blocks.padding_to_16(height, width)
    frames = F.pad(frames, padding)  # zeros before normalisation, unlike STCN
    probabilities = [torch.softmax(blocks.soft_aggregate(first_mask), dim=0)]
    memory = Memory()
    for index in range(1, count):
        masks = F.pad(probabilities[index - 1][1:], padding)
        before = encode_memory(w, frames[index - 1 : index], masks)
        memory.add(*before, is_kept=(index - 1) % keep_every == 0)
        features = encode_query(w, frames[index : index + 1])
        objects = object_probabilities(decode(w, features, memory.read(features.key)))
        aggregated = torch.softmax(blocks.soft_aggregate(objects), dim=0)
        probabilities.append(blocks.crop(aggregated, padding, height, width))
    return torch.stack(probabilities)


def _trunk(w, prefix, x):
    stride4 = blocks.bottleneck_stage(w, f"{prefix}.res2", blocks.stem(w, prefix, x), stride=1)
    stride8 = blocks.bottleneck_stage(w, f"{prefix}.res3", stride4, stride=2)
    return stride4, stride8, blocks.bottleneck_stage(w, f"{prefix}.res4", stride8, stride=2)
