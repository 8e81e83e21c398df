"""Where a training iteration's time goes, and what makes it shorter on a CPU.

    python benchmarks/training.py [ROOT] [--model stcn] [--crop 192] [--frames 3] [--rounds 3] [--json FILE]

An iteration is four clips with 1, 2, 2 and 3 objects, three of them at most, with the module's own loss, backward pass
and optimiser. Ways to compute it take turns within every round, and medians over rounds are printed, of processor time,
so that other work on the machine hardly shows:

* ``batch of 4, float32`` and ``batch of 4, bf16``: all clips at once, each with as many planes as the fullest;
* ``4 x 1 clip``: one clip at a time and accumulated gradients, so that no plane is empty;
* ``frozen stem``: the frame encoder's stem and first stage keep their weights, and nothing goes back through them;
* the last way again with smaller and larger crops.

Shares are of the forward pass by stage (the frame encoder, the encoder of masks, the memory read, the decoder, the
rest), the backward pass and the optimiser. With ROOT, which holds ``pairs`` and ``train`` as for
``recipes/stcn/small.yaml``, the time to prepare the clips is measured too; without it clips are random numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vos_zoo.data.clips.compositing import PasteSettings
from vos_zoo.data.clips.dataset import ClipRequest
from vos_zoo.data.modules.mixed import MixedDataModule
from vos_zoo.memory.benchmark import describe_machine
from vos_zoo.registry import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from vos_zoo.training.module import VOSModule

OBJECTS = (1, 2, 2, 3)
FORWARD = ("encode", "memorize", "read", "decode")
STEM = ("key_encoder.conv1", "key_encoder.bn1", "key_encoder.layer1")
PREPARED = 16  # clips whose preparation is timed


@dataclass(frozen=True)
class Way:
    """One way to compute an iteration."""

    name: str
    precision: str
    together: bool
    crop: int
    frozen: bool = False


def make_clips(crop: int, frames: int, objects: tuple[int, ...], planes: int) -> dict[str, Any]:
    """Make a batch of noise with masks of stripes."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.arange(crop) * 4 // crop  # 0 is background
    masks = torch.stack([torch.where(columns <= count, columns, 0).expand(frames, crop, crop) for count in objects])
    return {
        "images": torch.randn(len(objects), frames, 3, crop, crop, generator=generator),
        "masks": masks.to(torch.uint8),
        "valid_objects": torch.stack([torch.arange(planes) < count for count in objects]),
        "first_masks": torch.stack([masks[:, 0] == plane + 1 for plane in range(planes)], dim=1).float(),
        "name": ["noise"] * len(objects),
    }


def build(way: Way, model: str) -> tuple[VOSModule, torch.optim.Optimizer]:
    """Make a module and its optimiser, without a Trainer."""
    torch.manual_seed(0)
    frozen = STEM if way.frozen else ()
    module = ARCHITECTURES[model].load_class("module")("small", frozen=frozen, final_decay=0.0)
    for part in module.network.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.to(memory_format=torch.channels_last)
    module.log = lambda *args, **kwargs: None  # there is no Trainer that would keep it
    return module.train(), module.configure_optimizers()["optimizer"]


@contextmanager
def stage_times(module: VOSModule) -> Iterator[dict[str, float]]:
    """Add up seconds of the forward stages, each without the stages inside of it."""
    times: dict[str, float] = defaultdict(float)
    inside = [0.0]

    def timed(owner: Any, method: str, stage: str) -> None:
        plain = getattr(owner, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            inside.append(0.0)
            start = time.process_time()
            result = plain(*args, **kwargs)
            seconds = time.process_time() - start
            times[stage] += seconds - inside.pop()
            inside[-1] += seconds
            return result

        setattr(owner, method, call)

    network = module.network
    for stage in FORWARD:
        timed(network, stage, stage)
    if hasattr(network, "value_encoder"):  # RDE's training step calls it by itself
        timed(network.value_encoder, "forward", "memorize")
    yield times


def run(way: Way, model: str, frames: int) -> dict[str, float]:
    """Seconds of an iteration by stage, after one to warm up."""
    module, optimizer = build(way, model)
    if way.together:
        parts = [make_clips(way.crop, frames, OBJECTS, max(OBJECTS))]
    else:
        parts = [make_clips(way.crop, frames, (count,), count) for count in OBJECTS]
    with stage_times(module) as times:
        for _ in range(2):
            times.clear()
            start = time.process_time()
            for batch in parts:
                times["forward"] += _forward_and_backward(module, batch, way.precision, times)
            begin = time.process_time()
            optimizer.step()
            optimizer.zero_grad()
            times["optimiser"] = time.process_time() - begin
            times["all"] = time.process_time() - start
    times["rest"] = times.pop("forward") - sum(times[stage] for stage in FORWARD)
    return dict(times)


def _forward_and_backward(module: VOSModule, batch: dict[str, Any], precision: str, times: dict[str, float]) -> float:
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss: Tensor = module.training_step(batch, 0)
    forward = time.process_time() - start
    loss.backward()  # type: ignore[no-untyped-call]
    times["backward"] += time.process_time() - start - forward
    return forward


def prepare(root: Path, crop: int, frames: int) -> float:
    """Seconds to prepare the clips of an iteration."""
    paste = PasteSettings(counts=(0.25, 0.4, 0.25, 0.1))
    data = MixedDataModule(str(root), crop_size=crop, num_frames=frames, max_objects=3, paste=paste, num_workers=0)
    data.setup("fit")
    dataset: Any = data.train_dataloader().dataset
    start = time.process_time()
    for number in range(PREPARED):
        dataset[ClipRequest(0, number, 5)]
    return (time.process_time() - start) * len(OBJECTS) / PREPARED


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path)
    parser.add_argument("--model", default="stcn", choices=["stcn", "rde"])
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    crop = arguments.crop
    ways = [
        Way("batch of 4, float32", "fp32", True, crop),
        Way("batch of 4, bf16", "bf16", True, crop),
        Way("4 x 1 clip, float32", "fp32", False, crop),
        Way("4 x 1 clip, bf16", "bf16", False, crop),
        Way("... and frozen stem", "bf16", False, crop, frozen=True),
        *(Way(f"... crop {side}", "bf16", False, side, frozen=True) for side in (160, 224, 288)),
    ]
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for way in ways:
            rounds[way.name].append(run(way, arguments.model, arguments.frames))
    stages = (*FORWARD, "rest", "backward", "optimiser")
    medians = {
        name: {stage: statistics.median(row[stage] for row in rows) for stage in (*stages, "all")}
        for name, rows in rounds.items()
    }
    first = medians[ways[0].name]["all"]
    print(f"{arguments.model}.small, {arguments.frames} frames of {crop} pixels, {torch.get_num_threads()} threads")
    print(f"{'':22}{'s/iter':>8}{'speed':>7}" + "".join(f"{stage:>11}" for stage in stages))
    for name, row in medians.items():
        shares = "".join(f"{100 * row[stage] / row['all']:>10.0f}%" for stage in stages)
        print(f"{name:22}{row['all']:8.2f}{first / row['all']:6.2f}x{shares}")
    record: dict[str, Any] = {"machine": describe_machine(), "model": arguments.model, "frames": arguments.frames}
    record |= {"crop": crop, "threads": torch.get_num_threads(), "seconds": medians}
    if arguments.root is not None:
        record["preparation"] = prepare(arguments.root, crop, arguments.frames)
        print(f"preparing four clips takes {record['preparation']:.2f} s, in processes of their own")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
