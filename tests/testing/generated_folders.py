"""Small folders of results and annotations that hold the edge cases of an evaluation, one per sequence."""

import numpy as np

from vos_zoo.media.masks import write_mask

SHAPE = (40, 52)


def square(top, left, size, object_id=1, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[max(top, 0) : top + size, max(left, 0) : left + size] = object_id
    return mask


def layered(*masks):
    result = np.zeros_like(masks[0])
    for mask in masks:
        result[mask > 0] = mask[mask > 0]
    return result


def moving(count=7, *, offset=0, object_id=1, shape=SHAPE):
    return [square(5 + t + offset, 4 + 3 * t, 12, object_id, shape) for t in range(count)]


def noisy(masks, seed):
    """Predictions that are off by a blob and by speckles."""
    generator = np.random.default_rng(seed)
    ids = sorted(set(np.unique(np.stack(masks)).tolist()) - {255})
    return [
        np.where(generator.random(m.shape) < 0.05, generator.choice(ids, m.shape), m).astype(m.dtype) for m in masks
    ]


def cases():
    """{sequence: (annotations, results)}; every one has a result for every frame."""
    one, shifted = moving(), moving(offset=2)
    two = [layered(a, square(20, 30 - t, 9, 2)) for t, a in enumerate(one)]
    void = [layered(a, square(8, 10 + t, 5, 255)) for t, a in enumerate(two)]
    empty = [np.zeros(SHAPE, np.uint8)] * 7
    late = [layered(a, square(22, 2, 8, 5)) if t >= 3 else a for t, a in enumerate(one)]
    leaves = [a if t < 3 or t > 4 else empty[0] for t, a in enumerate(one)]
    last_only = [layered(a, square(22, 2, 8, 4)) if t == 6 else a for t, a in enumerate(one)]
    last_but_one = [layered(a, square(22, 2, 8, 4)) if t >= 5 else a for t, a in enumerate(one)]
    pixels = [square(3 * t, 5 * t, 1) for t in range(7)]
    pixels_near = [square(3 * t + 1, 5 * t, 1) for t in range(7)]
    edges = [layered(square(-4, -4, 12, 1), square(30, 44, 20, 2), square(0, 46, 6, 3)) for _ in range(7)]
    full = [np.ones(SHAPE, np.uint8)] * 7
    gaps = [layered(a, square(20, 30, 9, 7)) for a in one]
    row = [square(0, t, 4, shape=(1, 30)) for t in range(5)]
    tall = moving(3, shape=(60, 30))
    return {
        "perfect": (two, two),
        "shifted": (one, shifted),
        "noisy": (two, noisy(two, 1)),
        "ragged": (two, noisy(two, 2)[::-1]),
        "missing-object": (two, one),
        "extra-object": (one, [layered(a, square(25, 25, 10, 9)) for a in one]),
        "void": (void, two),
        "void-noisy": (void, noisy(two, 3)),
        "all-void-later": ([one[0], *[np.full(SHAPE, 255, np.uint8)] * 6], shifted),
        "nothing-predicted": (two, empty),
        "nothing-annotated-later": ([one[0], *empty[1:]], shifted),
        "both-empty-later": ([one[0], *empty[1:]], empty),
        "no-object": (empty, shifted),
        "leaves-and-returns": (leaves, shifted),
        "late": (late, noisy(late, 4)),
        "given-in-last-frame": (last_only, noisy(one, 5)),
        "given-in-last-but-one": (last_but_one, noisy(last_but_one, 6)),
        "single-pixels": (pixels, pixels_near),
        "single-pixels-equal": (pixels, pixels),
        "borders": (edges, noisy(edges, 7)),
        "full-frame": (full, [np.roll(mask, t, axis=1) for t, mask in enumerate(moving())]),
        "both-full-frame": (full, full),
        "gaps-in-ids": (gaps, noisy(gaps, 8)),
        "swapped": (two, [np.choose(mask, [0, 2, 1]).astype(np.uint8) for mask in two]),
        "three-frames": (two[:3], noisy(two[:3], 9)),
        "long": ([square(5, t % 30, 12) for t in range(24)], [square(5 + t // 4, t % 30, 12) for t in range(24)]),
        "one-row": (row, row[1:] + row[:1]),
        "one-column": ([mask.T for mask in row], [mask.T for mask in row[1:] + row[:1]]),
        "one-pixel-frame": ([square(0, 0, 1, shape=(1, 1))] * 4, [square(0, 0, 1, shape=(1, 1))] * 4),
        "two-sizes": ([*moving(4), *tall], [*moving(4, offset=1), *noisy(tall, 10)]),
    }


def write_sequence(folder, masks):
    for index, mask in enumerate(masks):
        write_mask(folder / f"{index:05d}.png", mask)


def write_cases(root, names=None):
    """Write ``root/annotations`` and ``root/results``; give back both paths."""
    for name, (annotations, results) in cases().items():
        if names is None or name in names:
            write_sequence(root / "annotations" / name, annotations)
            write_sequence(root / "results" / name, results)
    return root / "results", root / "annotations"


EXACT = 1e-9  # both sides count pixels; only the order of a few float operations differs

RULES = {
    "davis2017": {"binary": False, "skip_last": True},
    "davis2016": {"binary": True, "skip_last": True},
    "youtube-vos": {"binary": False, "skip_last": False},
}

# In the binary protocol no value is void, so the definition has nothing to say about these.
CASES = {name: [case for case in cases() if name != "davis2016" or "void" not in case] for name in RULES}


def by_id(report, sequence):
    return {score.object_id: score for score in report.objects if score.sequence == sequence}
