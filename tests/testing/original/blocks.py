"""Blocks that the restated networks share, as functions of (weights, name, input)."""

import torch
import torch.nn.functional as F

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def conv(w, name, x, *, stride=1, padding=0):
    return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), stride=stride, padding=padding)


def norm(w, name, x):
    """BatchNorm with its stored statistics: (x - mean) / sqrt(var + 1e-5) * weight + bias."""

    def column(part):
        return w[f"{name}.{part}"].view(1, -1, 1, 1)

    standardised = (x - column("running_mean")) / (column("running_var") + 1e-5).sqrt()
    return standardised * column("weight") + column("bias")


def residual(w, name, x):
    """The pre-activation block without normalisation: shortcut(x) + conv(ReLU(conv(ReLU(x))))."""
    branch = conv(w, f"{name}.conv1", F.relu(x), padding=1)
    branch = conv(w, f"{name}.conv2", F.relu(branch), padding=1)
    return (conv(w, f"{name}.downsample", x, padding=1) if f"{name}.downsample.weight" in w else x) + branch


def bilinear(x, factor):
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def stem(w, prefix, summed):
    """What follows the first convolution of either ResNet: BatchNorm, ReLU, max pooling."""
    return F.max_pool2d(F.relu(norm(w, f"{prefix}.bn1", summed)), kernel_size=3, stride=2, padding=1)


def bottleneck_stage(w, name, x, *, stride):
    """One stage of ResNet-50 with the stride on the 3x3 convolution."""
    for block in range(_length(w, name)):
        at, step = f"{name}.{block}", stride if block == 0 else 1
        branch = F.relu(norm(w, f"{at}.bn1", conv(w, f"{at}.conv1", x)))
        branch = F.relu(norm(w, f"{at}.bn2", conv(w, f"{at}.conv2", branch, stride=step, padding=1)))
        branch = norm(w, f"{at}.bn3", conv(w, f"{at}.conv3", branch))
        x = F.relu(branch + _shortcut(w, at, x, step))
    return x


def basic_stage(w, name, x, *, stride):
    """One stage of ResNet-18."""
    for block in range(_length(w, name)):
        at, step = f"{name}.{block}", stride if block == 0 else 1
        branch = F.relu(norm(w, f"{at}.bn1", conv(w, f"{at}.conv1", x, stride=step, padding=1)))
        branch = norm(w, f"{at}.bn2", conv(w, f"{at}.conv2", branch, padding=1))
        x = F.relu(branch + _shortcut(w, at, x, step))
    return x


def soft_aggregate(probabilities):
    """(K,H,W) object probabilities to (K+1,H,W) logits with the background first."""
    background = torch.prod(1 - probabilities, dim=0, keepdim=True)
    stacked = torch.cat([background, probabilities]).clamp(1e-7, 1 - 1e-7)
    return torch.log(stacked / (1 - stacked))


def others(probabilities):
    """(K,H,W) to the sum of the other objects' planes, (K,H,W); not clamped."""
    count = probabilities.shape[0]
    planes = []
    for index in range(count):
        rest = [probabilities[other] for other in range(count) if other != index]
        planes.append(sum(rest) if rest else torch.zeros_like(probabilities[index]))
    return torch.stack(planes)


def normalise(images):
    """(...,3,H,W) in [0,1] to ImageNet-normalised."""
    mean = torch.tensor(IMAGE_MEAN, dtype=images.dtype).view(3, 1, 1)
    std = torch.tensor(IMAGE_STD, dtype=images.dtype).view(3, 1, 1)
    return (images - mean) / std


def padding_to_16(height, width):
    """The (left, right, top, bottom) zeros up to multiples of 16, the odd one at the right or bottom."""
    extra_w, extra_h = -width % 16, -height % 16
    return extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2


def crop(x, padding, height, width):
    left, _, top, _ = padding
    return x[..., top : top + height, left : left + width]


def _shortcut(w, at, x, stride):
    if f"{at}.downsample.0.weight" not in w:
        return x
    return norm(w, f"{at}.downsample.1", conv(w, f"{at}.downsample.0", x, stride=stride))


def _length(w, name):
    length = 0
    while f"{name}.{length}.conv1.weight" in w:
        length += 1
    return length
