"""STCN (Cheng et al., NeurIPS 2021) on a state dict in its authors' key scheme."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from . import blocks


class Features(NamedTuple):
    """What one frame gives before any mask is known, at batch 1."""

    image: torch.Tensor  # (1,3,H,W)
    key: torch.Tensor  # k16, (1,64,h,w)
    thin: torch.Tensor  # f16_thin, (1,512,h,w)
    stride16: torch.Tensor  # (1,1024,h,w)
    stride8: torch.Tensor
    stride4: torch.Tensor


def encode_key(w, image):
    """(1,3,H,W) normalised, H and W multiples of 16, to Features."""
    entry = blocks.stem(w, "key_encoder", blocks.conv(w, "key_encoder.conv1", image, stride=2, padding=3))
    stride4 = blocks.bottleneck_stage(w, "key_encoder.res2", entry, stride=1)
    stride8 = blocks.bottleneck_stage(w, "key_encoder.layer2", stride4, stride=2)
    stride16 = blocks.bottleneck_stage(w, "key_encoder.layer3", stride8, stride=2)
    key = blocks.conv(w, "key_proj.key_proj", stride16, padding=1)
    thin = blocks.conv(w, "key_comp", stride16, padding=1)
    return Features(image, key, thin, stride16, stride8, stride4)


def encode_value(w, features, probabilities):
    """(K,H,W) soft masks to values (K,512,h,w)."""
    planes = torch.stack([probabilities, blocks.others(probabilities)], dim=1)
    x = torch.cat([features.image.expand(len(planes), -1, -1, -1), planes], dim=1)
    x = blocks.stem(w, "value_encoder", blocks.conv(w, "value_encoder.conv1", x, stride=2, padding=3))
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        x = blocks.basic_stage(w, f"value_encoder.layer{stage}", x, stride=stride)
    x = torch.cat([x, features.stride16.expand(len(planes), -1, -1, -1)], dim=1)
    fused = blocks.residual(w, "value_encoder.fuser.block1", x)
    return blocks.residual(
        w, "value_encoder.fuser.block2", fused + attention(w, "value_encoder.fuser.attention", fused)
    )


def attention(w, name, x):
    """CBAM: a gate per channel, then a gate per position."""

    def hidden(pooled):
        inner = F.relu(F.linear(pooled, w[f"{name}.ChannelGate.mlp.1.weight"], w[f"{name}.ChannelGate.mlp.1.bias"]))
        return F.linear(inner, w[f"{name}.ChannelGate.mlp.3.weight"], w[f"{name}.ChannelGate.mlp.3.bias"])

    gate = torch.sigmoid(hidden(x.mean(dim=(2, 3))) + hidden(x.amax(dim=(2, 3))))
    x = x * gate[:, :, None, None]
    summary = torch.stack([x.amax(dim=1), x.mean(dim=1)], dim=1)
    return x * torch.sigmoid(blocks.conv(w, f"{name}.SpatialGate.spatial.conv", summary, padding=3))


def read_memory(query_key, keys, values, *, top_k):
    """(1,64,h,w), (64,T,h,w) and (K,512,T,h,w) to the readout (K,512,h,w), by brute force.

    The similarity is the negative squared distance over sqrt(64); the top k are found by a full sort.
    """
    _, channels, height, width = query_key.shape
    query = query_key[0].flatten(1)  # (64, hw)
    memory = keys.flatten(1)  # (64, N)
    similarity = -(memory[:, :, None] - query[:, None, :]).square().sum(dim=0) / math.sqrt(channels)  # (N, hw)
    if top_k is not None:
        order = similarity.argsort(dim=0, descending=True)
        similarity = similarity.scatter(0, order[top_k:], -math.inf)
    weight = torch.exp(similarity - similarity.amax(dim=0))
    weight = weight / weight.sum(dim=0)
    return (values.flatten(2) @ weight).unflatten(2, (height, width))


def decode(w, features, readout):
    """Readouts (K,512,h,w) to logits (K,H,W), one object after the other."""
    logits = []
    for value in readout:
        x = torch.cat([value[None], features.thin], dim=1)
        x = blocks.residual(w, "decoder.compress", x)
        for step, skip in (("up_16_8", features.stride8), ("up_8_4", features.stride4)):
            x = blocks.conv(w, f"decoder.{step}.skip_conv", skip, padding=1) + blocks.bilinear(x, 2)
            x = blocks.residual(w, f"decoder.{step}.out_conv", x)
        x = blocks.conv(w, "decoder.pred", F.relu(x), padding=1)
        logits.append(blocks.bilinear(x, 4)[0, 0])
    return torch.stack(logits)


class Memory:
    """The growing memory: every frame that is added, once."""

    def __init__(self, w, *, top_k=20):
        self.w, self.top_k = w, top_k
        self.keys, self.values = [], []

    def add(self, key, values):
        """Take the key (64,h,w) and the values (K,512,h,w) of a memorised frame."""
        self.keys.append(key)
        self.values.append(values)

    def read(self, query_key):
        keys, values = torch.stack(self.keys, dim=1), torch.stack(self.values, dim=2)
        return read_memory(query_key, keys, values, top_k=self.top_k)


def segment_clip(w, frames, first_mask, *, memory, mem_every=5):
    """Segment a clip as the authors' DAVIS script does.

    Args:
        w: State dict in the authors' scheme.
        frames: (T,3,H,W) RGB in [0,1], any size.
        first_mask: (K,H,W) masks of frame 0, 0 or 1.
        memory: An empty memory with ``add`` and ``read``.
        mem_every: Frames whose index is a multiple of this are memorised, except the last frame.

    Returns:
        Probabilities (T,K+1,H,W), background first.
    """
    count, _, height, width = frames.shape
    padding = blocks.padding_to_16(height, width)
    frames = F.pad(blocks.normalise(frames), padding)
    probabilities = [torch.softmax(blocks.soft_aggregate(F.pad(first_mask, padding)), dim=0)]
    for index in range(count):
        features = encode_key(w, frames[index : index + 1])
        if index > 0:
            logits = decode(w, features, memory.read(features.key))
            probabilities.append(torch.softmax(blocks.soft_aggregate(torch.sigmoid(logits)), dim=0))
        if index % mem_every == 0 and index < count - 1:
            memory.add(features.key[0], encode_value(w, features, probabilities[index][1:]))
    return blocks.crop(torch.stack(probabilities), padding, height, width)
