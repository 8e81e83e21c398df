"""Objects that appear later: the authors' YouTube-VOS procedure, with one memory per object."""

import torch
import torch.nn.functional as F

from . import blocks, stcn


def segment_clip(w, frames, entries, *, new_memory, mem_every):
    """Segment a clip whose objects enter on different frames.

    Args:
        w: State dict in STCN's or RDE-VOS's scheme.
        frames: (T,3,H,W) RGB in [0,1].
        entries: {frame: {object: mask (H,W)}}; objects are numbered 0..K-1, frame 0 is among the keys.
        new_memory: Makes an empty memory for one object.
        mem_every: Frames between two additions, counted from the last one.

    Returns:
        Object probabilities (T,K,H,W), zero before an object's first frame.
    """
    count, _, height, width = frames.shape
    padding = blocks.padding_to_16(height, width)
    images = F.pad(blocks.normalise(frames), padding)
    total = sum(len(masks) for masks in entries.values())
    probabilities = torch.zeros(count, total, *images.shape[-2:], dtype=frames.dtype)
    memories = {}

    def add(index):
        features = stcn.encode_key(w, images[index : index + 1])
        values = stcn.encode_value(w, features, probabilities[index])
        for plane, memory in memories.items():
            memory.add(features.key[0], values[plane : plane + 1])

    labelled = sorted(entries)
    for at, until in zip(labelled, [*labelled[1:], count - 1], strict=True):
        _enter(probabilities[at], {plane: F.pad(mask, padding) for plane, mask in entries[at].items()})
        memories |= {plane: new_memory() for plane in entries[at]}
        add(at)
        last = at
        for index in range(at + 1, until + 1):
            features = stcn.encode_key(w, images[index : index + 1])
            readout = torch.cat([memory.read(features.key) for memory in memories.values()])
            aggregated = blocks.soft_aggregate(torch.sigmoid(stcn.decode(w, features, readout))).softmax(dim=0)
            probabilities[index, list(memories)] = aggregated[1:]
            if index < until and index - last >= mem_every:
                add(index)
                last = index
    return blocks.crop(probabilities, padding, height, width)


def segment_with_verbs(network, frames, entries, policy):
    """Do the same with the zoo's four verbs, which group objects themselves; planes follow the order of entry."""
    count, _, height, width = frames.shape
    padding = blocks.padding_to_16(height, width)
    images = F.pad(blocks.normalise(frames), padding)
    total = sum(len(masks) for masks in entries.values())
    probabilities = torch.zeros(count, total, *images.shape[-2:], dtype=frames.dtype)
    memory = network.new_memory(policy)
    for index in range(count):
        features = network.encode(images[index : index + 1])
        known = memory.num_objects
        if known:
            objects = network.segment(features, memory).sigmoid()[0]
            probabilities[index, :known] = blocks.soft_aggregate(objects).softmax(dim=0)[1:]
        new = entries.get(index, {})
        if new:
            _enter(probabilities[index], {plane: F.pad(mask, padding) for plane, mask in new.items()})
        if new or (index < count - 1 and memory.is_due):
            planes = probabilities[index : index + 1, : known + len(new)]
            network.memorize(features, planes, memory, reference=sorted(new))
    return blocks.crop(probabilities, padding, height, width)


def _enter(probabilities, masks):
    """Set new objects' masks into the planes (K,H,W) of a frame and aggregate."""
    for mask in masks.values():
        probabilities[:, mask > 0] = 0.0
    for plane, mask in masks.items():
        probabilities[plane] = mask
    probabilities[:] = blocks.soft_aggregate(probabilities).softmax(dim=0)[1:]
