"""Hash the masks of bundled weights on annotated clips, and compare two versions of the code.

    python benchmarks/mask_hashes.py --clips CLIPS --out before.json
    python benchmarks/mask_hashes.py --clips CLIPS --out after.json --compare before.json

CLIPS is a root in DAVIS layout. Objects are given on the frame where they first appear. Hashes depend on the processor
and on the versions of the libraries: take both files on one machine, with one number of threads. Results are appended
clip by clip, and an interrupted run resumes. The script uses public names only, so that it also runs on older versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vos_zoo import VideoSession, load_model

WEIGHTS = ("rde.small", "stcn.small", "hs2s.small", "giel.small", "dmn_aoa.small", "tsn.small")


def hash_clip(session: VideoSession, frames: Path, masks: Path) -> str:
    """SHA-256 over the masks of all frames, as int32."""
    digest, seen = hashlib.sha256(), {0}
    for path in sorted(frames.glob("*.jpg")):
        given = np.asarray(Image.open(masks / f"{path.stem}.png"))
        new = sorted(set(np.unique(given).tolist()) - seen)
        seen.update(new)
        mask = np.where(np.isin(given, new), given, 0) if new else None
        result = session.step(np.asarray(Image.open(path).convert("RGB")), mask)
        digest.update(np.ascontiguousarray(result.mask, dtype=np.int32).tobytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="annotated clips in DAVIS layout")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of hashes; what it holds is not run again")
    parser.add_argument("--compare", type=Path, help="JSON file of another version")
    parser.add_argument("--weights", nargs="+", default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    hashes = json.loads(options.out.read_text()) if options.out.exists() else {}
    clips = sorted((options.clips / "JPEGImages/480p").iterdir(), key=lambda clip: len(list(clip.iterdir())))
    for weight in options.weights:
        model = None
        for clip in clips:
            name = f"{weight}/{clip.name}"
            if name not in hashes:
                model = model or load_model(weight, device="cpu")
                hashes[name] = hash_clip(VideoSession(model), clip, options.clips / "Annotations/480p" / clip.name)
                options.out.write_text(json.dumps(hashes, indent=2, sort_keys=True) + "\n")
                print(name, hashes[name], flush=True)
    if options.compare is None:
        return 0
    before = json.loads(options.compare.read_text())
    different = sorted(name for name in hashes if before.get(name) != hashes[name])
    print(f"{len(hashes) - len(different)} of {len(hashes)} equal", *different, sep="\n  ")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
