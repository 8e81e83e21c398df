"""Proposals on disk that follow the augmentation of training clips."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from vos_zoo.data import MixedDataModule, StaticImagesDataModule, SyntheticDataModule
from vos_zoo.data.clips.dataset import FrameOrigin
from vos_zoo.data.clips.motion import MotionRange
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.errors import ConfigError, DataError, MissingFileError
from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.media.masks import write_mask
from vos_zoo.models.dmn_aoa import DMNAOAModule
from vos_zoo.models.dmn_aoa.features import tight_boxes
from vos_zoo.models.dmn_aoa.proposal_files import store_proposals, write_index, write_proposals
from vos_zoo.models.dmn_aoa.proposals import ProposalRequest, Proposals, paste_masks
from vos_zoo.models.dmn_aoa.training_proposals import ClipProposals, sample_masks

SIZE = (96, 128)
STRONG = MotionRange(rotation=20, scale=0.25, shear=15, translation=0.1, warp_probability=1.0, is_chained=False)
CLIPS = {"batch_size": 2, "num_frames": 3, "crop_size": 96, "samples_per_epoch": 2, "num_workers": 0}


def store(path, mask):
    """Write the objects of a mask as proposals of a detector that is always right."""
    planes = torch.stack([torch.from_numpy(mask == label) for label in np.unique(mask) if label]).float()
    boxes, _ = tight_boxes(planes > 0.5)
    found = Proposals(boxes, torch.linspace(0.9, 0.5, len(planes)), planes)
    write_proposals(path, store_proposals(found, FrameGeometry(SIZE, SIZE, (0, 0, 0, 0))))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A video in DAVIS layout and pictures with masks, all with their proposals."""
    root = tmp_path_factory.mktemp("root")
    video = moving_shapes(5, *SIZE, num_objects=2, rng=3)
    for index, (frame, mask) in enumerate(zip(video.frames, video.masks, strict=True)):
        name = f"shapes/{index:05d}"
        for folder in ("train/JPEGImages/480p/shapes", "train/Annotations/480p/shapes", "pairs/set"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(root / "train" / "JPEGImages" / "480p" / f"{name}.jpg")
        write_mask(root / "train" / "Annotations" / "480p" / f"{name}.png", mask)
        Image.fromarray(frame).save(root / "pairs" / "set" / f"{index}.jpg")
        write_mask(root / "pairs" / "set" / f"{index}.png", mask)
        store(root / "proposals" / f"{name}.npz", mask)
        store(root / "of_pairs" / "set" / f"{index}.npz", mask)
    write_index(root / "proposals", generator="test", frames=5, settings={"top_k": 7, "nms_iou": None})
    return root


def videos(root, **options):
    return MixedDataModule(
        str(root), pairs_weight=0.0, paste=False, is_chained=False, video_motion=STRONG, **{**CLIPS, **options}
    )


def pictures(root):
    return StaticImagesDataModule(str(root), paste=False, motion=STRONG, **CLIPS)


def first_batch(data):
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def request(batch, entry, time):
    image = batch["images"][entry, time]
    return ProposalRequest(time, entry, image, torch.zeros(1, *image.shape[1:]), torch.zeros(1, 4))


def overlap(one, other):
    return float((one & other).sum() / (one | other).sum().clamp(min=1))


@pytest.mark.parametrize(("make", "folder"), [(videos, "proposals"), (pictures, "of_pairs")])
def test_proposals_move_with_their_frames(root, make, folder):
    """A detector that is right about the frames on disk is right about the clips made of them."""
    batch = first_batch(make(root))
    source = ClipProposals.of_batch(root / folder, batch["origins"])
    compared = 0
    for entry in range(2):
        for time in range(3):
            found = source(request(batch, entry, time))
            mask = batch["masks"][entry, time]
            for plane in batch["valid_objects"][entry].nonzero().flatten().tolist():
                truth = mask == plane + 1
                if truth.sum() < 200:  # hardly in the crop
                    continue
                # 28 cells across a box round its outline.
                assert max(overlap(truth, proposal > 0.5) for proposal in found.masks) > 0.85
                compared += 1
            rows, columns = (found.masks[0] > 0.4).nonzero().unbind(1)
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert found.boxes[0].tolist() == [float(value) for value in expected]  # tight around the moved mask
    assert compared >= 6


def test_masks_at_the_centres_of_pixels_are_those_that_are_pasted():
    torch.manual_seed(0)
    grids, boxes = (
        torch.rand(3, 28, 28),
        torch.tensor([[1.0, 2.0, 20.5, 17.0], [5.0, 0.0, 9.0, 30.0], [-3.0, 4.0, 8.0, 9.5]]),
    )
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    points = torch.stack([columns, rows], dim=2) + 0.5
    torch.testing.assert_close(
        sample_masks(grids, boxes, points), paste_masks(grids, boxes, (24, 32)), atol=1e-5, rtol=0
    )


def test_thresholds_are_those_of_the_index(root):
    origins = [(FrameOrigin("shapes/00000", SIZE, np.eye(3), None),)]
    assert ClipProposals.of_batch(root / "proposals", origins).thresholds == {"top_k": 7, "nms_iou": None}
    assert ClipProposals.of_batch(root / "of_pairs", origins).thresholds == {}


def test_what_does_not_belong_to_a_frame_is_refused(root):
    def propose(origins):
        image = torch.zeros(3, *SIZE)
        return ClipProposals.of_batch(root / "proposals", [origins])(
            ProposalRequest(0, 0, image, torch.zeros(1, *SIZE), torch.zeros(1, 4))
        )

    with pytest.raises(DataError, match="is for frames of 128x96 pixels, the frame has 64x48"):
        propose((FrameOrigin("shapes/00000", (48, 64), np.eye(3), None),))
    with pytest.raises(MissingFileError, match="00099"):
        propose((FrameOrigin("shapes/00099", SIZE, np.eye(3), None),))
    with pytest.raises(DataError, match="generated clip has no proposals"):
        propose(())


def fit(module, data, folder):
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_steps=1,
        enable_checkpointing=False, limit_val_batches=0, default_root_dir=str(folder),
    )  # fmt: skip
    trainer.fit(module, data)
    return float(trainer.callback_metrics["train/loss"])


@pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers", "ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:`isinstance\\(treespec")
def test_training_takes_proposals_from_disk(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    losses = []
    for options in ({"training_proposals": "folder", "proposals_folder": "proposals"}, {"training_proposals": "true"}):
        torch.manual_seed(0)
        losses.append(fit(DMNAOAModule("tiny", backbone_weights="random", **options), videos(root), tmp_path))
    assert all(np.isfinite(losses))
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    "options", [{"training_proposals": "folder"}, {"training_proposals": "both", "proposals_folder": "proposals"}]
)
def test_a_folder_goes_with_its_source(options):
    with pytest.raises(ConfigError, match="Expected a folder with 'folder', and none without"):
        DMNAOAModule("tiny", **options)


def test_a_missing_folder_is_said_before_training(root, tmp_path):
    module = DMNAOAModule("tiny", backbone_weights="random", training_proposals="folder", proposals_folder="nowhere")
    with pytest.raises(MissingFileError, match=r"no folder of proposals .*nowhere or nowhere"):
        fit(module, videos(root), tmp_path)


@pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers", "ignore:.*LeafSpec.*:FutureWarning")
def test_generated_clips_have_none(root, tmp_path):
    module = DMNAOAModule(
        "tiny", backbone_weights="random", training_proposals="folder", proposals_folder=str(root / "proposals")
    )
    with pytest.raises(DataError, match="generated clip"):
        fit(module, SyntheticDataModule(**CLIPS), tmp_path)
