"""Data roots with two short clips of moving squares, in the layouts of DAVIS and YouTube-VOS."""

import json
import shutil

from vos_zoo.media.masks import read_mask, write_mask


def davis_root(folder, clip, names=("one", "two"), lists=("2017/val",)):
    for name in names:
        shutil.copytree(clip.frames, folder / "JPEGImages" / "480p" / name)
        shutil.copytree(clip.masks, folder / "Annotations" / "480p" / name)
    for listed in lists:
        path = folder / "ImageSets" / f"{listed}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
    return folder


def youtube_vos_root(folder, clip, *, with_truth=True):
    """Videos of one seen and one unseen object; without truth, only the masks in which objects are given."""
    frames = [path.stem for path in sorted(clip.frames.iterdir())]
    for split in ("valid", "train"):
        shutil.copytree(clip.frames, folder / split / "JPEGImages" / "one")
        shutil.copytree(clip.masks, folder / split / "Annotations" / "one")
        objects = {"1": {"category": "cat", "frames": frames}}
        if split == "valid":
            objects["7"] = {"category": "okapi", "frames": frames[3:]}
        (folder / split / "meta.json").write_text(json.dumps({"videos": {"one": {"objects": objects}}}))
    if not with_truth:
        masks = folder / "valid" / "Annotations" / "one"
        late = read_mask(masks / "00003.png")
        late[late != 7] = 0
        for path in masks.iterdir():
            if path.stem not in ("00000", "00003"):
                path.unlink()
        write_mask(masks / "00003.png", late)
    return folder
