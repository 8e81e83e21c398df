"""RDE-VOS (Li et al., CVPR 2022) on a state dict in its authors' key scheme.

Encoders and decoder are STCN's; this file adds the aggregation module and the constant memory with its modes.
"""

import torch
import torch.nn.functional as F

from .stcn import decode, encode_key, encode_value, read_memory, segment_clip

__all__ = ["MODES", "Memory", "aggregate", "decode", "encode_key", "encode_value", "read_memory", "segment_clip"]

# Official mode: (entries before the second addition, entries afterwards); R aggregated, L latest, G first, * all.
MODES = {
    "stm": ("*", "*"),
    "gt": ("G", "G"),
    "last": ("G", "L"),
    "two-frames": ("G", "LGG"),
    "compress": ("G", "R"),
    "gt-compress": ("GG", "RG"),
    "last-compress": ("G", "RL"),
    "two-frames-compress": ("GG", "RLGG"),
}


def aggregate(w, kind, previous, new):
    """Fold a new frame into the aggregated slot; ``kind`` is "key" (…,64,h,w) or "value" (…,512,h,w)."""
    x = torch.stack([previous, new], dim=2)  # (B,C,2,h,w)
    extracted = extract(w, f"mem_compress.{kind}_encoder.non_local", x)
    enhanced = extracted + enhance(w, f"mem_compress.{kind}_encoder.conv1", extracted)
    squeeze = f"mem_compress.compress_{kind}"
    return F.conv3d(enhanced, w[f"{squeeze}.weight"], w[f"{squeeze}.bias"], padding=(0, 1, 1))[:, :, 0]


def extract(w, name, x, *, pool_first=False):
    """The non-local part: no softmax, division by the number of pooled positions, residual.

    The released code projects, then pools; ``pool_first`` is Equation 5 of the paper, which is not the same.
    """

    def pointwise(part, features):
        weight = w[f"{name}.{part}.weight"][:, :, 0, 0, 0]
        return torch.einsum("oc,bcthw->bothw", weight, features) + w[f"{name}.{part}.bias"].view(1, -1, 1, 1, 1)

    theta = pointwise("theta", x).flatten(2)  # (B,C/2,2hw)
    phi, g = (
        (pointwise(part, _pool(x)) if pool_first else _pool(pointwise(part, x))).flatten(2)  # (B,C/2,N)
        for part in ("phi.0", "g.0")
    )
    relation = torch.einsum("bcp,bcn->bpn", theta, phi) / phi.shape[2]
    y = torch.einsum("bpn,bcn->bcp", relation, g).unflatten(2, x.shape[2:])
    return pointwise("W", y) + x


def enhance(w, name, x):
    """The pyramid of dilated convolutions, each frame by itself."""
    branches = [F.relu(F.conv3d(x, w[f"{name}.aspp1.atrous_conv.weight"]))]
    for branch, dilation in ((2, 2), (3, 4), (4, 6)):
        weight = w[f"{name}.aspp{branch}.atrous_conv.weight"]
        padding = (0, dilation, dilation)
        branches.append(F.relu(F.conv3d(x, weight, padding=padding, dilation=(1, dilation, dilation))))
    return F.relu(F.conv3d(torch.cat(branches, dim=1), w[f"{name}.conv1.weight"], padding=(0, 1, 1)))


class Memory:
    """RDE's memory in one of the official modes; the entries are physically repeated where a mode repeats them."""

    def __init__(self, w, *, mode="two-frames-compress", top_k=40):
        self.w, self.top_k = w, top_k
        self.before, self.after = MODES[mode]
        self.frames, self.slots = [], {}

    def add(self, key, values):
        """Take the key (64,h,w) and the values (K,512,h,w) of a memorised frame."""
        self.frames.append((key, values))
        if len(self.frames) == 1:
            self.slots = {"R": (key, values), "G": (key, values)}
            return
        old_key, old_values = self.slots["R"]
        new_key = aggregate(self.w, "key", old_key[None], key[None])[0]
        self.slots["R"] = (new_key, aggregate(self.w, "value", old_values, values))
        self.slots["L"] = (key, values)

    def entries(self):
        letters = self.before if len(self.frames) == 1 else self.after
        return self.frames if letters == "*" else [self.slots[letter] for letter in letters]

    def read(self, query_key):
        entries = self.entries()
        keys = torch.stack([key for key, _ in entries], dim=1)
        values = torch.stack([value for _, value in entries], dim=2)
        return read_memory(query_key, keys, values, top_k=self.top_k)


def _pool(x):
    return F.max_pool3d(x, kernel_size=(1, 2, 2), stride=(1, 2, 2))
