"""How fast is the evaluation? Prints milliseconds per frame and the ratio to plain full-frame implementations.

    python benchmarks/evaluate.py [ANNOTATIONS] [--rounds 5] [--json FILE]

Two plain implementations of the same definition are timed:

* ``float64``: the restatement that the tests compare with (whole frames, float64, no OpenCV);
* ``opencv``: whole frames with boolean arrays and OpenCV's dilation by the disk, as evaluation scripts have it.

All read the same files through the same function; ``reading`` is the time of that alone. The ratios are given with it
(what a user waits for) and without it (the metric itself).

Without a data set the annotations are drawn: moving ellipses at 480x854, 1 to 5 objects. The results that are scored
are the annotations, shifted and eroded a little, like a good model's. The contenders take turns within every round,
and medians over rounds are printed (float64 runs once), of processor time, so that other work on the machine does not
show. All scores agree to 1e-9, or the script stops.

Last comes the time on the clock with more and more worker processes, up to the number of cores, on as many copies of
the sequences as keep them busy.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from metrics import official_definition
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.metrics.evaluation import evaluate, usable_cores

HEIGHT, WIDTH, FRAMES = 480, 854, 20
OBJECTS = (1, 2, 3, 5)


def draw_annotations(root):
    """One sequence per number of objects: ellipses of different sizes on crossing paths."""
    for count in OBJECTS:
        for t in range(FRAMES):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            for object_id in range(1, count + 1):
                centre = (150 + 110 * object_id + 6 * t * (-1) ** object_id, 120 + 45 * object_id + 3 * t)
                axes = (35 + 18 * object_id, 95 - 8 * object_id)
                cv2.ellipse(mask, centre, axes, 20 * object_id + 2 * t, 0, 360, object_id, -1)
            write_mask(root / f"objects-{count}" / f"{t:05d}.png", mask)


def write_results(annotations, results):
    """Shift every mask by a few pixels and shave its edge off."""
    for path in sorted(annotations.glob("*/*.png")):
        mask = read_mask(path, void=255)
        moved = np.roll(mask, (2, -3), axis=(0, 1))
        edge = cv2.morphologyEx(moved, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        write_mask(results / path.relative_to(annotations), np.where(edge, 0, moved))


def run_plain(results, annotations, score_frame):
    """Mean J&F per object, by reading every frame and scoring every object on the whole of it."""
    means = {}
    for folder in sorted(path for path in annotations.iterdir() if path.is_dir()):
        frames = sorted(path.name for path in folder.glob("*.png"))
        first = official_definition.load(folder / frames[0])
        objects = [int(value) for value in np.unique(first) if value not in (0, 255)]
        scores = {object_id: [] for object_id in objects}
        for frame in frames[1:-1]:
            annotation = read_mask(folder / frame, void=255)
            prediction = read_mask(results / folder.name / frame)
            void = annotation == 255
            for object_id in objects:
                scores[object_id].append(score_frame(prediction == object_id, annotation == object_id, void))
        means |= {f"{folder.name}_{object_id}": np.mean(values) for object_id, values in scores.items()}
    return means


def score_in_float64(prediction, annotation, void):
    masks = [mask.astype(np.float64) for mask in (prediction, annotation, void)]
    return official_definition.jaccard(*masks), official_definition.f_measure(*masks)


def score_with_opencv(prediction, annotation, void):
    prediction, annotation = prediction & ~void, annotation & ~void
    union = np.sum(prediction | annotation)
    region = np.sum(prediction & annotation) / union if union else 1.0
    radius = int(np.ceil(0.008 * np.linalg.norm(annotation.shape)))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (y * y + x * x <= radius * radius).astype(np.uint8)
    boundaries = [full_frame_boundary(mask) for mask in (prediction, annotation)]
    near = [cv2.dilate(mask.astype(np.uint8), disk).astype(bool) for mask in boundaries]
    counts = [np.sum(mask) for mask in boundaries]
    if not all(counts):
        return region, float(counts[0] == counts[1])
    precision, recall = (np.sum(boundaries[i] & near[1 - i]) / counts[i] for i in range(2))
    return region, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def full_frame_boundary(mask):
    right, below, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1], below[:-1], diagonal[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    boundary = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    boundary[-1], boundary[:, -1] = mask[-1] ^ right[-1], mask[:, -1] ^ below[:, -1]
    boundary[-1, -1] = False
    return boundary


def read_all(results, annotations):
    """What reading alone costs, which all have in common."""
    for path in sorted(annotations.glob("*/*.png")):
        read_mask(path, void=255)
        read_mask(results / path.relative_to(annotations))
    return {}


def run_ours(results, annotations):
    report = evaluate(results, annotations)
    return {score.name: score.j_and_f for score in report.objects}


def measure(results, annotations, rounds):
    contenders = {
        "vos_zoo": lambda: run_ours(results, annotations),
        "reading": lambda: read_all(results, annotations),
        "opencv": lambda: run_plain(results, annotations, score_with_opencv),
        "float64": lambda: run_plain(results, annotations, score_in_float64),
    }
    seconds = {name: [] for name in contenders}
    for index in range(rounds):
        means = {}
        for name, run in contenders.items():
            if name == "float64" and index > 0:
                continue  # seconds per sequence, and a hundred times slower whatever the noise
            start = time.process_time()
            means[name] = run()
            seconds[name].append(time.process_time() - start)
        for name in means.keys() & {"opencv", "float64"}:
            np.testing.assert_allclose(
                [means[name][key] for key in means["vos_zoo"]], list(means["vos_zoo"].values()), atol=1e-9
            )
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure_processes(results, annotations, folder, copies=8):
    """Seconds on the clock by number of processes; workers start afresh, which is part of it."""
    for side, source in (("many-annotations", annotations), ("many-results", results)):
        for sequence in sorted(path for path in source.iterdir() if path.is_dir()):
            for copy in range(copies):
                link = folder / side / f"{sequence.name}-{copy}"
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(sequence.resolve(), target_is_directory=True)
    counts = [count for count in (1, 2, 4, 8, 16) if count <= usable_cores()]
    seconds = {}
    for count in counts:
        start = time.perf_counter()
        evaluate(folder / "many-results", folder / "many-annotations", processes=count)
        seconds[count] = time.perf_counter() - start
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", nargs="?", type=Path, help="folder of annotated sequences; drawn if left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        annotations = arguments.annotations or Path(folder) / "annotations"
        if arguments.annotations is None:
            draw_annotations(annotations)
        write_results(annotations, Path(folder) / "results")
        rows = []
        for sequence in sorted(path for path in annotations.iterdir() if path.is_dir()):
            (Path(folder) / "one").mkdir(exist_ok=True)
            link = Path(folder) / "one" / sequence.name
            link.symlink_to(sequence.resolve(), target_is_directory=True)
            frames = len(list(sequence.glob("*.png")))
            rows.append((sequence.name, frames, measure(Path(folder) / "results", link.parent, arguments.rounds)))
            link.unlink()
        by_processes = measure_processes(Path(folder) / "results", annotations, Path(folder))
    print("processor time, ms per frame                              with reading      without reading")
    print("sequence        frames    ours reading  opencv float64   opencv  float64   opencv  float64")
    for name, frames, seconds in rows:
        print_row(name, frames, seconds)
    total = {key: sum(row[2][key] for row in rows) for key in rows[0][2]}
    print_row("all", sum(row[1] for row in rows), total)
    print("processes  " + "  ".join(f"{count:6}" for count in by_processes))
    print("seconds    " + "  ".join(f"{seconds:6.2f}" for seconds in by_processes.values()))
    if arguments.json is not None:
        record = {
            "sequences": [{"sequence": name, "frames": frames, "seconds": seconds} for name, frames, seconds in rows],
            "seconds_by_processes": by_processes,
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def print_row(name, frames, seconds):
    each = "".join(f"{1000 * seconds[key] / frames:8.2f}" for key in ("vos_zoo", "reading", "opencv", "float64"))
    ratios = [
        (seconds[key] - shared) / (seconds["vos_zoo"] - shared)
        for shared in (0.0, seconds["reading"])
        for key in ("opencv", "float64")
    ]
    print(f"{name:16}{frames:6}{each}" + "".join(f"{ratio:8.1f}x" for ratio in ratios))


if __name__ == "__main__":
    main()
