"""Objects that appear later or are corrected: the authors' YouTube-VOS procedure, with one memory per object.

The authors' programs have no corrections; here a corrected object is given its mask as a new one is. STM's authors
released no program for late objects: its parts go through STCN's procedure.
"""

import torch
import torch.nn.functional as F

from vos_zoo import VideoSession

from . import blocks, clip, stcn, stm


class STCN:
    """What the procedure needs to know of STCN.

    Args:
        w: State dict in STCN's or RDE-VOS's scheme.
        new_memory: Makes an empty memory for one object.
    """

    pads_masks_with_zeros = False
    keeps_previous = False

    def __init__(self, w, new_memory):
        self.w, self.new_memory = w, new_memory

    @staticmethod
    def pad(frames, padding):
        return F.pad(blocks.normalise(frames), padding)

    def encode(self, image):
        return stcn.encode_key(self.w, image)

    def entries(self, features, probabilities):
        """What each object memorises: key and value, with an object axis of length 1 on the value."""
        values = stcn.encode_value(self.w, features, probabilities)
        return [(features.key[0], value[None]) for value in values]

    @staticmethod
    def remember(memory, entry, *, is_kept, is_given):
        memory.add(*entry)

    def segment(self, features, memories):
        """Each object's own probability (K,H,W)."""
        readout = torch.cat([memory.read(features.key) for memory in memories])
        return torch.sigmoid(stcn.decode(self.w, features, readout))


class RDE(STCN):
    """The same for RDE-VOS; a correction takes the place of the first frame."""

    @staticmethod
    def remember(memory, entry, *, is_kept, is_given):
        memory.add(*entry)
        if is_given:
            memory.slots["G"] = entry


class STM:
    """The same for STM, whose memory also holds the previous frame."""

    pads_masks_with_zeros = True
    keeps_previous = True

    def __init__(self, w):
        self.w, self.new_memory = w, stm.Memory

    @staticmethod
    def pad(frames, padding):
        return F.pad(frames, padding)

    def encode(self, image):
        return stm.encode_query(self.w, image)

    def entries(self, features, probabilities):
        keys, values = stm.encode_memory(self.w, features.image, probabilities)
        return list(zip(keys[:, None], values[:, None], strict=True))

    @staticmethod
    def remember(memory, entry, *, is_kept, is_given):
        memory.add(*entry, is_kept=is_kept)

    def segment(self, features, memories):
        readout = torch.cat([memory.read(features.key) for memory in memories])
        return stm.object_probabilities(stm.decode(self.w, features, readout))


def segment_clip(model, frames, given, *, mem_every):
    """Segment a clip whose objects enter on different frames.

    Args:
        model: ``STCN``, ``RDE`` or ``STM`` above.
        frames: (T,3,H,W) RGB in [0,1].
        given: {frame: {object: mask (H,W)}}; objects are numbered 0..K-1 in order of entry, frame 0 is among the keys.
            An object that is there already is corrected.
        mem_every: Frames between two frames that stay in memory, counted from the last one.

    Returns:
        Object probabilities (T,K,H,W), zero before an object's first frame.
    """
    count, _, height, width = frames.shape
    padding = blocks.padding_to_16(height, width)
    images = model.pad(frames, padding)
    total = len({plane for masks in given.values() for plane in masks})
    probabilities = torch.zeros(count, total, *images.shape[-2:], dtype=frames.dtype)
    memories = {}
    last = 0
    for index in range(count):
        features = model.encode(images[index : index + 1])
        if memories:
            own = model.segment(features, list(memories.values()))
            probabilities[index, list(memories)] = blocks.soft_aggregate(own).softmax(dim=0)[1:]
        masks = given.get(index, {})
        if masks:
            _enter(probabilities[index], {plane: F.pad(mask, padding) for plane, mask in masks.items()})
            memories |= {plane: model.new_memory() for plane in masks if plane not in memories}
        is_kept = bool(masks) or index - last >= mem_every
        if is_kept or model.keeps_previous:
            shown = probabilities[index]
            if model.pads_masks_with_zeros:
                shown = F.pad(blocks.crop(shown, padding, height, width), padding)
            entries = model.entries(features, shown[list(memories)])
            for (plane, memory), entry in zip(memories.items(), entries, strict=True):
                model.remember(memory, entry, is_kept=is_kept, is_given=plane in masks)
        if is_kept:
            last = index
    return blocks.crop(probabilities, padding, height, width)


def scene(*, first=3, second=5, count=7):
    """A padded clip (T,3,53,75) in which two objects are joined by a third, and one of them is corrected later."""
    frames, masks = clip.moving_discs(count, 53, 75, objects=3)
    return clip.as_bytes(frames)[1], {
        0: {0: masks[0], 1: masks[1]},
        first: {2: masks[2].roll(9, dims=-1)},
        second: {0: masks[0].roll((4, 7), dims=(-2, -1))},
    }


def segment_with_session(network, frames, given, policy, **options):
    """Do the same with a session, which is shown bytes and ids: object probabilities (T,K,H,W)."""
    ids = (7, 300, 3)  # those of one frame have to ascend with the objects
    total = len({plane for masks in given.values() for plane in masks})
    session = VideoSession(network, size=None, policy=policy, **options)
    probabilities = torch.zeros(len(frames), total, *frames.shape[-2:])
    for index, frame in enumerate(clip.as_bytes(frames)[0]):
        masks = [mask.int() * ids[plane] for plane, mask in given.get(index, {}).items()]
        result = session.step(frame, sum(masks).numpy() if masks else None)
        probabilities[index, : len(result.object_ids)] = result.probabilities[1:]
    return probabilities


def _enter(probabilities, masks):
    """Set given masks into the planes (K,H,W) of a frame and aggregate."""
    for mask in masks.values():
        probabilities[:, mask > 0] = 0.0
    for plane, mask in masks.items():
        probabilities[plane] = mask
    probabilities[:] = blocks.soft_aggregate(probabilities).softmax(dim=0)[1:]
