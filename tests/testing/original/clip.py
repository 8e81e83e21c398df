"""Small clips to segment, and the zoo's four verbs driven over them as the authors' scripts drive their networks."""

import torch
import torch.nn.functional as F

from vos_zoo.layers import soft_aggregate

from . import blocks


def moving_discs(count, height, width, *, objects=2, seed=0, dtype=torch.float32):
    """Make frames (T,3,H,W) in [0,1] of discs on a blurred texture, and the masks (O,H,W) of the first frame."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=generator)
    texture = F.interpolate(coarse, (height, width), mode="bilinear")[0]
    colours = torch.rand(objects, 3, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    radius = 0.22 * min(height, width)
    frames, first_mask = [], torch.zeros(objects, height, width)
    for step in range(count):
        frame = texture.clone()
        for index in range(objects):
            place = (index + 1) / (objects + 1)
            disc = (rows - height * place - 2 * step) ** 2 + (columns - width * place - 3 * step) ** 2 < radius**2
            frame = torch.where(disc, colours[index][:, None, None], frame)
            if step == 0:
                first_mask[:, disc] = 0.0
                first_mask[index, disc] = 1.0
        noise = torch.randn(frame.shape, generator=generator)
        frames.append((frame + 0.05 * noise).clamp(0, 1))
    return torch.stack(frames).to(dtype), first_mask.to(dtype)


def as_bytes(frames):
    """Turn frames (T,3,H,W) into what a user has, uint8 frames (H,W,3), and the exact float frames of it."""
    pixels = (frames * 255).round().to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).numpy()), pixels.to(frames.dtype) / 255


def as_video(frames, first_mask, ids):
    """Turn a clip into uint8 frames and one mask (H,W) of ids; and the exact float frames of it."""
    video, exact = as_bytes(frames)
    mask = sum(plane.long() * object_id for plane, object_id in zip(first_mask, ids, strict=True))
    return video, mask.numpy(), exact


def padded(network, frames):
    """Normalise and pad (T,3,H,W) in the order that the network asks for."""
    padding = blocks.padding_to_16(*frames.shape[-2:])
    if network.pads_before_normalisation:
        return blocks.normalise(F.pad(frames, padding))
    return F.pad(blocks.normalise(frames), padding)


def segment_with_verbs(network, frames, first_mask, policy):
    """Segment a clip with encode, new_memory, segment and memorize: probabilities (T,O+1,H,W), background first."""
    count, _, height, width = frames.shape
    padding = blocks.padding_to_16(height, width)
    memory = network.new_memory(policy)
    images = padded(network, frames)
    probabilities = [soft_aggregate(F.pad(first_mask, padding)[None]).softmax(dim=1)]
    for index in range(count):
        features = network.encode(images[index : index + 1])
        if index > 0:
            memory.tick()
            logits = network.segment(features, memory)
            probabilities.append(soft_aggregate(logits.sigmoid()).softmax(dim=1))
        if index < count - 1 and (index == 0 or memory.is_due):
            masks = probabilities[index][:, 1:]
            if network.pads_masks_with_zeros:
                masks = F.pad(blocks.crop(masks, padding, height, width), padding)
            network.memorize(features, masks, memory, reference=index == 0)
    return blocks.crop(torch.cat(probabilities), padding, height, width)
