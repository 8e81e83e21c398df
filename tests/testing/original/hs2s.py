"""HS2S (Azimi et al., 2020) on a state dict in its authors' key scheme, one object at a time."""

import math

import torch
import torch.nn.functional as F

from . import blocks

# Entries, learnable numbers and numbers in buffers of the released file.
ENTRIES = 732
PARAMETERS = 395_759_593
BUFFERS = 110_702
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))


def encode(w, prefix, image, mask):
    """A frame (1,3,H,W) with a mask (1,1,H,W) to the skips at strides 2 to 32 and the reduced map."""
    summed = blocks.conv(w, f"{prefix}.conv1", image, stride=2, padding=3)
    summed = summed + blocks.conv(w, f"{prefix}.mask_conv", mask, stride=2, padding=3)
    x = F.relu(blocks.norm(w, f"{prefix}.bn", summed))
    x = F.relu(blocks.norm(w, f"{prefix}.added_bn", blocks.conv(w, f"{prefix}.added_conv", x, padding=1)))
    skips = [x]
    x = F.max_pool2d(x, 2)
    for stage in range(4):
        x = blocks.bottleneck_stage(w, f"{prefix}.conv{stage + 2}", x, stride=1 if stage == 0 else 2)
        skips.append(x)
    reduced = F.relu(blocks.norm(w, f"{prefix}.reduce_bn", blocks.conv(w, f"{prefix}.reduce_channel_", x)))
    return skips, reduced


def recur(w, name, x, hidden, cell):
    """The cell whose four gates are sigmoid, in the order i, f, o, g."""
    weight = w[f"{name}.conv.weight"]
    gates = F.conv2d(torch.cat([x, hidden], 1), weight, w[f"{name}.conv.bias"], padding=weight.shape[-1] // 2)
    i, f, o, g = torch.sigmoid(gates).chunk(4, dim=1)
    cell = f * cell + i * g
    return o * torch.clamp(cell, min=0), cell


def global_convolution(w, name, reference, hidden):
    x = torch.cat([reference, hidden], dim=1)
    left = blocks.conv(w, f"{name}.conv_l1", x, padding=(3, 0))
    left = blocks.conv(w, f"{name}.conv_l2", left, padding=(0, 3))
    right = blocks.conv(w, f"{name}.conv_r1", x, padding=(0, 3))
    return F.relu(left + blocks.conv(w, f"{name}.conv_r2", right, padding=(3, 0)))


def decode(w, references, hidden, skip_references, skip_hidden, skips):
    """Mask logit (1,1,H,W) and border logits (1,K,H,W)."""
    merged = [global_convolution(w, f"decoder.{n}", r, hidden) for n, r in zip(("GC", "GC_p"), references, strict=True)]
    u = F.relu(blocks.conv(w, "decoder.GCGC_p", torch.cat(merged, dim=1)))
    merged = [
        global_convolution(w, f"decoder.{n}", r, skip_hidden)
        for n, r in zip(("GCmm0", "GCmm_1"), skip_references, strict=True)
    ]
    v = F.relu(blocks.conv(w, "decoder.mm", torch.cat(merged, dim=1)))
    s2, s4, s8, s16, s32 = skips
    x = u
    inputs = ((s32,), (s16, v), (s8,), (s4,), (s2,))
    names = (("conv_1", "conv_11"), ("conv_2_", "conv_22"), ("conv_3", "conv_33"), ("conv_4", "conv_44"))
    for extra, (mix, convolve) in zip(inputs, (*names, ("conv_5", "conv_55")), strict=True):
        x = F.relu(blocks.conv(w, f"decoder.{mix}", torch.cat([x, *extra], dim=1)))
        x = F.relu(blocks.conv(w, f"decoder.{convolve}", blocks.bilinear(x, 2), padding=2))
    border = blocks.conv(w, "decoder.distance_classifier_", x, padding=1)
    branch = blocks.conv(w, "decoder.segmentation_branch_", x, padding=1)
    return blocks.conv(w, "decoder.merge_", F.relu(torch.cat([border, branch], dim=1))), border


def segment_clip(w, frames, first_mask):
    """Run freely over a clip.

    Args:
        w: State dict in the authors' scheme.
        frames: (T,3,H,W), normalised, sides multiples of 32.
        first_mask: (H,W) of one object.

    Returns:
        Mask logits (T-1,H,W) and border logits (T-1,K,H,W).
    """
    mask = first_mask[None, None]
    (_, _, _, m0, _), r0 = encode(w, "encoder_ref", frames[:1], mask)
    hidden = cell = torch.zeros_like(r0)
    width = r0.shape[1]
    skip_hidden = skip_cell = torch.zeros(1, width, *m0.shape[2:], dtype=m0.dtype)
    logits, borders = [], []
    for time in range(1, len(frames)):
        (_, _, _, m_prev, _), r_prev = encode(w, "encoder_ref", frames[time - 1 : time], mask)
        skips, reduced = encode(w, "encoder", frames[time : time + 1], mask)
        hidden, cell = recur(w, "memory", reduced, hidden, cell)
        skip_hidden, skip_cell = recur(w, "skip_memory", skips[3], skip_hidden, skip_cell)
        logit, border = decode(w, (r0, r_prev), hidden, (m0, m_prev), skip_hidden, skips)
        mask = torch.sigmoid(logit)
        logits.append(logit[0, 0])
        borders.append(border[0])
    return torch.stack(logits), torch.stack(borders)


def shapes(*, state=1024, inner=256, widths=(512, 256, 128, 64, 64), skip_kernel=5, classes=42):
    """Give {key: shape} of the released file, or of one with narrower states, matching and decoder."""
    table = {}
    for prefix in ("encoder_ref", "encoder"):
        table |= _encoder_shapes(prefix, state)
    table |= _conv("memory.conv", 4 * state, 2 * state, 3)
    table |= _conv("skip_memory.conv", 4 * state, 1024 + state, skip_kernel)
    out = state // 2
    for name, reference in (("GC", state), ("GC_p", state), ("GCmm0", 1024), ("GCmm_1", 1024)):
        channels = reference + state
        table |= _conv(f"decoder.{name}.conv_l1", inner, channels, (7, 1))
        table |= _conv(f"decoder.{name}.conv_l2", out, inner, (1, 7))
        table |= _conv(f"decoder.{name}.conv_r1", inner, channels, (1, 7))
        table |= _conv(f"decoder.{name}.conv_r2", out, inner, (7, 1))
    table |= _conv("decoder.GCGC_p", out, 2 * out, 1) | _conv("decoder.mm", out, 2 * out, 1)
    mixed = (2 * widths[0], *widths[:4])
    inputs = (out + 2048, widths[0] + 1024 + out, widths[1] + 512, widths[2] + 256, widths[3] + 64)
    names = (("conv_1", "conv_11"), ("conv_2_", "conv_22"), ("conv_3", "conv_33"), ("conv_4", "conv_44"))
    for level, (mix, convolve) in enumerate((*names, ("conv_5", "conv_55"))):
        table |= _conv(f"decoder.{mix}", mixed[level], inputs[level], 1)
        table |= _conv(f"decoder.{convolve}", widths[level], mixed[level], 5)
    table |= _conv("decoder.distance_classifier_", classes, widths[4], 3)
    table |= _conv("decoder.segmentation_branch_", classes, widths[4], 3)
    return table | _conv("decoder.merge_", 1, 2 * classes, 1)


def is_buffer(key):
    return key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def random_state_dict(seed, *, dtype=torch.float64, **sizes):
    """Make a seeded state dict whose activations stay of order one through a clip."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes(**sizes).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(seed)
        elif key.endswith("running_var"):
            state[key] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) == 1:
            is_scale = key.endswith(".weight")
            noise = torch.randn(shape, generator=generator)
            # Ends of residual branches are damped, so that sixteen blocks do not add up.
            state[key] = (0.3 if ".bn3." in key else 1.0) + 0.1 * noise if is_scale else 0.1 * noise
        else:
            gain = 8.0 if "mask_conv" in key else 4.0 if "merge_" in key else math.sqrt(2.0)
            noise = torch.randn(shape, generator=generator)
            noise -= noise.mean(dim=(1, 2, 3), keepdim=True) if shape[1] > 1 else 0.0
            state[key] = noise * (gain / math.sqrt(math.prod(shape[1:])))
    return {key: part.to(dtype) if part.is_floating_point() else part for key, part in state.items()}


def _encoder_shapes(prefix, state):
    table = {f"{prefix}.conv1.weight": (64, 3, 7, 7), f"{prefix}.mask_conv.weight": (64, 1, 7, 7)}
    table |= _norm(f"{prefix}.bn", 64) | _conv(f"{prefix}.added_conv", 64, 64, 3) | _norm(f"{prefix}.added_bn", 64)
    in_channels = 64
    for stage, (count, width) in enumerate(STAGES, start=2):
        for block in range(count):
            name = f"{prefix}.conv{stage}.{block}"
            sizes = ((width, in_channels, 1), (width, width, 3), (4 * width, width, 1))
            for index, (c_out, c_in, kernel) in enumerate(sizes, start=1):
                table[f"{name}.conv{index}.weight"] = (c_out, c_in, kernel, kernel)
                table |= _norm(f"{name}.bn{index}", c_out)
            if block == 0:
                table[f"{name}.downsample.0.weight"] = (4 * width, in_channels, 1, 1)
                table |= _norm(f"{name}.downsample.1", 4 * width)
            in_channels = 4 * width
    return table | _conv(f"{prefix}.reduce_channel_", state, 2048, 1) | _norm(f"{prefix}.reduce_bn", state)


def _conv(name, out_channels, in_channels, kernel):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    return {f"{name}.weight": (out_channels, in_channels, *kernel), f"{name}.bias": (out_channels,)}


def _norm(name, channels):
    table = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return table | {f"{name}.num_batches_tracked": ()}
