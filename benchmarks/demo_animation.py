"""Draw the animation at the top of README.md: the demo clip with the masks of the default weight.

    python benchmarks/demo_animation.py [--model rde]

Writes docs/images/demo.webp: every third frame at 480x270 pixels, left the video, right the masks that `vos-zoo demo`
makes of it from the mask of its first frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from vos_zoo import VideoSession
from vos_zoo.demo import demo_clip
from vos_zoo.media.masks import read_mask
from vos_zoo.media.overlay import draw_overlay
from vos_zoo.media.reader import open_video
from vos_zoo.weights import load_network

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.webp"
SIZE = (480, 270)
EVERY = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="rde")
    options = parser.parse_args()
    clip = demo_clip()
    session = VideoSession(load_network(options.model))
    mask = read_mask(clip.first_mask)
    images = []
    for frame in open_video(clip.video):
        found = session.step(frame.image, mask if frame.index == 0 else None).mask
        if frame.index % EVERY == 0:
            halves = [Image.fromarray(part).resize(SIZE) for part in (frame.image, draw_overlay(frame.image, found))]
            images.append(Image.fromarray(np.concatenate([np.asarray(half) for half in halves], axis=1)))
    images[0].save(TARGET, save_all=True, append_images=images[1:], duration=125, loop=0, quality=70, method=6)
    print(f"{TARGET}: {TARGET.stat().st_size / 1e6:.2f} MB, {len(images)} images")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
