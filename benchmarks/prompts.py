"""How good are first masks from boxes and clicks? Mean IoU on images that no prompt network was trained on.

    python benchmarks/prompts.py --pairs ROOT/pairs --out benchmarks/results/prompts.json
    python benchmarks/prompts.py --pairs ROOT/pairs --method runs/.../last.ckpt

Prompts are simulated: a click into the middle of the object, or a box by an unsteady hand, and then clicks where the
answer is most wrong. One object of each image counts, chosen by the image's name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vos_zoo.data.layouts.pictures import ImageMaskPairs, held_back_keys
from vos_zoo.prompts import Points, prompt_mask
from vos_zoo.prompts.mask import METHODS
from vos_zoo.prompts.network import PromptConfig, PromptNetwork
from vos_zoo.prompts.simulation import overlaps
from vos_zoo.weights.training_checkpoint import read_training_checkpoint

COUNTS = (1, 3, 5)
HEIGHTS = (480, 1080, 2160)
LEAST_SHARE = 0.005  # of the image; smaller objects are not worth following


def chosen_method(text: str) -> Any:
    """Return a name of a method as it is, and the network of a training checkpoint."""
    if text in METHODS:
        return text
    checkpoint = read_training_checkpoint(text)
    assert isinstance(checkpoint.config, PromptConfig)
    network = PromptNetwork(checkpoint.config)
    network.load_state_dict(checkpoint.tensors)
    return network.eval()


def one_object(key: str, mask: Any) -> Any:
    """Return the mask of an object of an image, chosen by the image's name among those that are large enough."""
    ids, areas = np.unique(mask[mask > 0], return_counts=True)
    ids = [label for label, area in zip(ids, areas, strict=True) if area >= LEAST_SHARE * mask.size]
    if not ids:
        return None
    return mask == ids[int(hashlib.sha256(f"object of {key}".encode()).hexdigest(), 16) % len(ids)]


def measure(pairs: ImageMaskPairs, keys: list[str], method: Any) -> dict[str, Any]:
    """Return the mean IoU in percent after 1, 3 and 5 prompts, for both beginnings."""
    places = {key: index for index, key in enumerate(pairs.keys)}
    scores: dict[str, list[list[float]]] = {"click": [], "box": []}
    for done, key in enumerate(keys, start=1):
        image, mask = pairs.read(places[key])
        truth = one_object(key, mask)
        if truth is None:
            continue
        for begin_with in ("click", "box"):
            rng = np.random.default_rng(int(hashlib.sha256(key.encode()).hexdigest()[:8], 16))
            scores[begin_with].append(
                overlaps(image, truth, method=method, begin_with=begin_with, count=max(COUNTS), rng=rng)
            )
        if done % 25 == 0:
            print(f"{done} of {len(keys)}", flush=True)
    return {
        "images": len(scores["click"]),
        **{
            begin_with: {
                str(count): round(100 * statistics.mean(score[count - 1] for score in of_kind), 1) for count in COUNTS
            }
            for begin_with, of_kind in scores.items()
        },
    }


def time_of_clicks(methods: dict[str, Any], image: Any) -> dict[str, dict[str, float]]:
    """Processor seconds of one click on frames of several heights: medians of five, the methods in turns."""
    found: dict[str, dict[str, float]] = {name: {} for name in methods}
    for height in HEIGHTS:
        frame = cv2.resize(image, (height * 16 // 9, height), interpolation=cv2.INTER_CUBIC)
        prompt = [Points(1, positive=[(frame.shape[1] // 2, height // 2)])]
        taken: dict[str, list[float]] = {name: [] for name in methods}
        for turn in range(6):
            for name, method in methods.items():
                begin = time.process_time()
                prompt_mask(frame, prompt, method=method)
                if turn:  # the first one loads and warms
                    taken[name].append(time.process_time() - begin)
        for name, seconds in taken.items():
            found[name][str(height)] = round(statistics.median(seconds), 3)
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of the image-mask pairs")
    parser.add_argument("--method", nargs="+", default=["grabcut", "network"], help="or .ckpt files of recipes/prompts")
    parser.add_argument("--held-back", type=int, default=300, help="images that training leaves out")
    parser.add_argument("--first", type=int, help="take only so many of them")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch and OpenCV")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    pairs = ImageMaskPairs(arguments.pairs)
    keys = sorted(held_back_keys(pairs.keys, arguments.held_back))[: arguments.first]
    methods = {name: chosen_method(name) for name in arguments.method}
    result = {
        "iou": {name: measure(pairs, keys, method) for name, method in methods.items()},
        "processor_seconds_per_click": time_of_clicks(methods, pairs.read(0)[0]),
    }
    print(json.dumps(result, indent=2))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
