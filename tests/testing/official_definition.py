"""The DAVIS 2017 definition once more, as plainly as possible: whole frames, float64, no OpenCV, no cropping.

Shares nothing with ``vos_zoo.metrics``; it reads the PNG files through Pillow itself. Slow on purpose.
"""

from pathlib import Path

import numpy as np
from PIL import Image

VOID = 255.0


def load(path):
    return np.asarray(Image.open(path)).astype(np.float64)


def jaccard(prediction, annotation, void=None):
    counted = np.ones_like(annotation) if void is None else 1.0 - void
    intersection = np.sum(prediction * annotation * counted)
    union = np.sum(np.maximum(prediction, annotation) * counted)
    return 1.0 if union == 0.0 else intersection / union


def boundary(mask):
    """1 where a pixel differs from its right, lower or lower right neighbour; frame edges as DAVIS has them."""
    height, width = mask.shape
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if y == height - 1 and x == width - 1:
                neighbours = []
            elif y == height - 1:
                neighbours = neighbours[:1]
            elif x == width - 1:
                neighbours = neighbours[1:2]
            result[y, x] = float(any(mask[y, x] != mask[v, u] for v, u in neighbours))
    return result


def boundary_by_shifts(mask):
    """The same with whole-array shifts, for frames that are too large for the loops."""
    right, below, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    result = np.maximum(np.abs(mask - right), np.maximum(np.abs(mask - below), np.abs(mask - diagonal)))
    result[-1] = np.abs(mask[-1] - right[-1])
    result[:, -1] = np.abs(mask[:, -1] - below[:, -1])
    result[-1, -1] = 0.0
    return result


def radius(shape, bound):
    return int(bound if bound >= 1 else np.ceil(bound * np.linalg.norm(shape)))


def dilate(points, reach):
    """Whether any point lies within ``reach``, one shift of the whole frame per pixel of the disk."""
    height, width = points.shape
    padded = np.zeros((height + 2 * reach, width + 2 * reach))
    padded[reach : reach + height, reach : reach + width] = points
    result = np.zeros_like(points)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= reach * reach:
                shifted = padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
                result = np.maximum(result, shifted)
    return result


def f_measure(prediction, annotation, void=None, bound=0.008):
    counted = np.ones_like(annotation) if void is None else 1.0 - void
    find = boundary if annotation.size <= 4096 else boundary_by_shifts
    predicted, annotated = find(prediction * counted), find(annotation * counted)
    reach = radius(annotation.shape, bound)
    if predicted.sum() == 0 and annotated.sum() > 0:
        precision, recall = 1.0, 0.0
    elif predicted.sum() > 0 and annotated.sum() == 0:
        precision, recall = 0.0, 1.0
    elif predicted.sum() == 0 and annotated.sum() == 0:
        precision, recall = 1.0, 1.0
    else:
        precision = np.sum(predicted * dilate(annotated, reach)) / predicted.sum()
        recall = np.sum(annotated * dilate(predicted, reach)) / annotated.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def statistics(values):
    """(mean, recall, decay); the bin positions are spelled out instead of computed with array functions."""
    count = len(values)
    edges = [int(np.floor(1 + (count - 1) * quarter / 4 + 0.5 + 1e-10)) for quarter in range(5)]
    first = values[edges[0] - 1 : edges[1]]
    last = values[edges[3] - 1 : edges[4]]
    recalled = [value for value in values if value > 0.5]
    return np.mean(values), len(recalled) / count, np.mean(first) - np.mean(last)


def evaluate_sequence(results: Path, annotations: Path, *, binary=False, skip_last=True, bound=0.008):
    """{object id: (list of J, list of F)} of one sequence; objects count from the frame after their first."""
    frames = sorted(path.name for path in annotations.glob("*.png"))
    truth = [load(annotations / frame) for frame in frames]
    if binary:
        truth = [(ids > 0).astype(np.float64) for ids in truth]
    objects = sorted({value for ids in truth for value in np.unique(ids)} - {0.0, VOID})
    scores = {}
    for object_id in objects:
        given = next(index for index, ids in enumerate(truth) if (ids == object_id).any())
        scored = range(given + 1, len(frames) - (1 if skip_last else 0))
        j_values, f_values = [], []
        for index in scored:
            prediction = load(results / frames[index])
            if binary:
                prediction = (prediction > 0).astype(np.float64)
            void = (truth[index] == VOID).astype(np.float64)
            masks = ((prediction == object_id).astype(np.float64), (truth[index] == object_id).astype(np.float64), void)
            j_values.append(jaccard(*masks))
            f_values.append(f_measure(*masks, bound=bound))
        scores[int(object_id)] = (j_values, f_values)
    return scores
