"""Seeded random state dicts with exactly the keys and shapes of the authors' files."""

import math

import torch

# Entries of a released file (without the ``module.`` prefix of STM's), learnable numbers, and numbers in buffers.
ENTRIES = {"stm": 558, "stcn": 405, "rde": 435}
PARAMETERS = {"stm": 38_925_570, "stcn": 54_434_180, "rde": 64_020_836}
BUFFERS = {"stm": 61_282, "stcn": 35_130, "rde": 35_130}

BUFFER_ENDINGS = ("running_mean", "running_var", "num_batches_tracked", ".mean", ".std")
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def shapes(kind):
    """Give {key: shape} of the file of ``kind``: "stm", "stcn", "rde" or "stage0" (STCN for one object, 4 channels)."""
    if kind == "stm":
        return _stm_shapes()
    table = _stcn_shapes(4 if kind == "stage0" else 5)
    if kind == "rde":
        for name, channels in (("key_encoder", 64), ("value_encoder", 512)):
            table |= _aggregation_shapes(f"mem_compress.{name}", channels)
        table |= _conv("mem_compress.compress_key", 64, 64, (2, 3, 3))
        table |= _conv("mem_compress.compress_value", 512, 512, (2, 3, 3))
    return table


def random_state_dict(kind, seed, dtype=torch.float32):
    """Make a seeded state dict whose activations stay of order one through a whole clip.

    Convolutions are scaled by their fan-in, BatchNorm statistics are random with positive variances, the branch ends
    of residual blocks are damped, and the recurrent aggregation of RDE is scaled so that repeated use neither grows
    nor vanishes. One generator per entry, so that "stcn" and "rde" with one seed share their common part.
    """
    return {key: _random_entry(key, shape, seed).to(_dtype_of(key, dtype)) for key, shape in shapes(kind).items()}


def is_buffer(key):
    return key.endswith(BUFFER_ENDINGS)


def _dtype_of(key, dtype):
    return torch.int64 if key.endswith("num_batches_tracked") else dtype


def _random_entry(key, shape, seed):
    if key.endswith("num_batches_tracked"):
        return torch.tensor(seed)
    if key.endswith((".mean", ".std")):
        return torch.tensor(IMAGE_MEAN if key.endswith("mean") else IMAGE_STD).view(shape)
    # A stable number of the key: hash() of a string changes from run to run.
    number = sum((position + 1) * byte for position, byte in enumerate(key.encode()))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    noise = torch.randn(shape, generator=generator)
    uniform = torch.rand(shape[:1], generator=generator)
    if key.endswith("running_mean"):
        return 0.2 * noise
    if key.endswith("running_var"):
        return 0.5 + uniform
    owner, _, kind = key.rpartition(".")
    if len(shape) == 1:
        is_norm = ".bn" in f".{owner}" or owner.endswith("downsample.1")
        if is_norm and kind == "weight":
            ends_branch = owner.endswith(("bn3", "bn2")) and not (owner.endswith("bn2") and _is_bottleneck(owner))
            return (0.5 + uniform) * (0.3 if ends_branch else 1.0)
        return 0.1 * noise
    # Filters that sum to zero pass on what varies from place to place rather than the mean that each ReLU leaves.
    noise = noise - noise.mean(dim=tuple(range(1, len(shape))), keepdim=True) if shape[1] > 1 else noise
    if key == "value_encoder.conv1.weight":
        noise[:, 3:] *= 4  # the masks weigh as much as the image
    return noise * _gain(owner) / math.sqrt(math.prod(shape[1:]))


def _is_bottleneck(owner):
    return not owner.startswith("value_encoder.")


# Gains that differ from kaiming's sqrt(2), found by looking at the activations of the restated networks.
_GAINS = (
    ("mem_compress.compress_", 0.8),
    ("mem_compress.value_encoder.non_local", 0.35),
    ("mem_compress.key_encoder.non_local", 0.7),
    ("key_proj.", 0.8),
    ("key_comp.", 0.1),
    ("value_encoder.fuser.", 1.0),
    ("KV_M_r4.Key", 0.8),
    ("KV_Q_r4.Key", 0.8),
    ("KV_M_r4.Value", 2.0),
    ("KV_", 0.1),
    ("decoder.pred", 1.2),
    ("Decoder.pred2", 1.0),
)


def _gain(owner):
    return next((gain for prefix, gain in _GAINS if owner.startswith(prefix)), math.sqrt(2.0))


def _conv(name, out_channels, in_channels, kernel, *, bias=True):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    table = {f"{name}.weight": (out_channels, in_channels, *kernel)}
    return table | {f"{name}.bias": (out_channels,)} if bias else table


def _norm(name, channels):
    table = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return table | {f"{name}.num_batches_tracked": ()}


def _residual(name, in_channels, out_channels, *, shortcut="downsample"):
    table = _conv(f"{name}.{shortcut}", out_channels, in_channels, 3) if in_channels != out_channels else {}
    table |= _conv(f"{name}.conv1", out_channels, in_channels, 3)
    return table | _conv(f"{name}.conv2", out_channels, out_channels, 3)


def _resnet50(prefix, stages):
    """The ImageNet network up to stride 16: convolutions have no biases."""
    table = _conv(f"{prefix}.conv1", 64, 3, 7, bias=False) | _norm(f"{prefix}.bn1", 64)
    in_channels = 64
    for stage, blocks, width in zip(stages, (3, 4, 6), (64, 128, 256), strict=True):
        for block in range(blocks):
            name = f"{prefix}.{stage}.{block}"
            for index, (c_out, c_in, kernel) in enumerate(
                ((width, in_channels, 1), (width, width, 3), (4 * width, width, 1)), start=1
            ):
                table |= _conv(f"{name}.conv{index}", c_out, c_in, kernel, bias=False)
                table |= _norm(f"{name}.bn{index}", c_out)
            if block == 0:
                table |= _conv(f"{name}.downsample.0", 4 * width, in_channels, 1, bias=False)
                table |= _norm(f"{name}.downsample.1", 4 * width)
            in_channels = 4 * width
    return table


def _resnet18(prefix, image_channels):
    """The value encoder's trunk: every convolution has a bias."""
    table = _conv(f"{prefix}.conv1", 64, image_channels, 7) | _norm(f"{prefix}.bn1", 64)
    in_channels = 64
    for stage, width in enumerate((64, 128, 256), start=1):
        for block in range(2):
            name = f"{prefix}.layer{stage}.{block}"
            table |= _conv(f"{name}.conv1", width, in_channels, 3) | _norm(f"{name}.bn1", width)
            table |= _conv(f"{name}.conv2", width, width, 3) | _norm(f"{name}.bn2", width)
            if in_channels != width:
                table |= _conv(f"{name}.downsample.0", width, in_channels, 1) | _norm(f"{name}.downsample.1", width)
            in_channels = width
    return table


def _stcn_shapes(image_channels):
    table = _resnet50("key_encoder", ("res2", "layer2", "layer3")) | _resnet18("value_encoder", image_channels)
    table |= _residual("value_encoder.fuser.block1", 1280, 512)
    gate = "value_encoder.fuser.attention"
    table |= {f"{gate}.ChannelGate.mlp.1.weight": (32, 512), f"{gate}.ChannelGate.mlp.1.bias": (32,)}
    table |= {f"{gate}.ChannelGate.mlp.3.weight": (512, 32), f"{gate}.ChannelGate.mlp.3.bias": (512,)}
    table |= _conv(f"{gate}.SpatialGate.spatial.conv", 1, 2, 7)
    table |= _residual("value_encoder.fuser.block2", 512, 512)
    table |= _conv("key_proj.key_proj", 64, 1024, 3) | _conv("key_comp", 512, 1024, 3)
    table |= _residual("decoder.compress", 1024, 512)
    table |= _conv("decoder.up_16_8.skip_conv", 512, 512, 3) | _residual("decoder.up_16_8.out_conv", 512, 256)
    table |= _conv("decoder.up_8_4.skip_conv", 256, 256, 3) | _residual("decoder.up_8_4.out_conv", 256, 256)
    return table | _conv("decoder.pred", 1, 256, 3)


def _aggregation_shapes(prefix, channels):
    table = {}
    for part in ("theta", "phi.0", "g.0"):
        table |= _conv(f"{prefix}.non_local.{part}", channels // 2, channels, (1, 1, 1))
    table |= _conv(f"{prefix}.non_local.W", channels, channels // 2, (1, 1, 1))
    for branch, kernel in enumerate(((1, 1, 1), (1, 3, 3), (1, 3, 3), (1, 3, 3)), start=1):
        table |= _conv(f"{prefix}.conv1.aspp{branch}.atrous_conv", channels // 4, channels, kernel, bias=False)
    return table | _conv(f"{prefix}.conv1.conv1", channels, channels, (1, 3, 3), bias=False)


def _stm_shapes():
    table = {}
    for side in "MQ":
        table |= {f"Encoder_{side}.mean": (1, 3, 1, 1), f"Encoder_{side}.std": (1, 3, 1, 1)}
        if side == "M":
            table |= _conv("Encoder_M.conv1_m", 64, 1, 7, bias=False)
            table |= _conv("Encoder_M.conv1_o", 64, 1, 7, bias=False)
        table |= _resnet50(f"Encoder_{side}", ("res2", "res3", "res4"))
        table |= _conv(f"KV_{side}_r4.Key", 128, 1024, 3) | _conv(f"KV_{side}_r4.Value", 512, 1024, 3)
    table |= _conv("Decoder.convFM", 256, 1024, 3) | _residual("Decoder.ResMM", 256, 256)
    for step, skip_channels in (("RF3", 512), ("RF2", 256)):
        table |= _conv(f"Decoder.{step}.convFS", 256, skip_channels, 3)
        table |= _residual(f"Decoder.{step}.ResFS", 256, 256) | _residual(f"Decoder.{step}.ResMM", 256, 256)
    return table | _conv("Decoder.pred2", 2, 256, 3)
