"""Proposals from torchvision's Mask R-CNN, which is built only when somebody asks for it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD
from vos_zoo.waiting import announced
from vos_zoo.weights.torch_files import plain_tensors, read_torch_file

from .proposal_files import StoredProposals, place_proposals
from .proposals import ProposalRequest, Proposals, tidy_proposals

if TYPE_CHECKING:
    from numpy.typing import NDArray

_logger = logging.getLogger(__name__)


_TUNED = "detector."  # before the names of a tuned detector's tensors


class MaskRCNNProposals:
    """Instances of Mask R-CNN v2 with ResNet-50-FPN, as proposals.

    The paper takes a COCO detector with ResNeXt-101-FPN and tunes it on YouTube-VOS; this one is torchvision's,
    untuned unless the weights are those of the recipe ``dmn_aoa/detector``.

    Args:
        weights: ``COCO_V1`` downloads torchvision's weights; a path reads a state dict or a checkpoint of that recipe;
            None leaves random weights.
        device: Where the detector runs.
        mask_threshold: See ``tidy_proposals``.
        nms_iou: See ``tidy_proposals``.
        top_k: See ``tidy_proposals``.

    Raises:
        MissingFileError: If the weight file does not exist.
        CheckpointError: If it does not fit, or cannot be downloaded.

    Source: He et al., Mask R-CNN, ICCV 2017; settings of DMN-AOA, Liang et al., ICCV 2021, Section 4.1.
    """

    def __init__(
        self,
        weights: str | Path | None = "COCO_V1",
        *,
        device: str | torch.device = "cpu",
        mask_threshold: float = 0.4,
        nms_iou: float = 0.4,
        top_k: int = 30,
    ) -> None:
        self._model: Any = build_detector(weights)
        self._model.eval().to(device)
        self.device = torch.device(device)
        self.mask_threshold = mask_threshold
        self.nms_iou = nms_iou
        self.top_k = top_k

    @torch.no_grad()
    def detect(self, image: NDArray[np.uint8]) -> StoredProposals:
        """Find instances in an RGB frame (H, W, 3) of values 0-255, at its own size."""
        tensor = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1).float() / 255
        return self._detect(tensor)

    @torch.no_grad()
    def __call__(self, request: ProposalRequest) -> Proposals:
        """Find instances in the frame as the network sees it."""
        mean, std = (request.image.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        image = (request.image.detach() * std + mean).clamp(0, 1)
        geometry = FrameGeometry(request.size, request.size, (0, 0, 0, 0))
        found = place_proposals(self._detect(image.to(self.device)), geometry, request.image)
        return tidy_proposals(found, mask_threshold=self.mask_threshold, nms_iou=self.nms_iou, top_k=self.top_k)

    def _detect(self, image: Tensor) -> StoredProposals:
        """Run the detector up to its mask grids; its own post-processing would paste them."""
        height, width = image.shape[1:]
        images, _ = self._model.transform([image])
        features = self._model.backbone(images.tensors)
        regions, _ = self._model.rpn(images, features)
        found = self._model.roi_heads(features, regions, images.image_sizes)[0][0]
        resized = images.image_sizes[0]
        scale = found["boxes"].new_tensor([width / resized[1], height / resized[0]]).repeat(2)
        grids = (found["masks"].squeeze(1).clamp(0, 1) * 255).round().to(torch.uint8)
        return StoredProposals(
            (height, width),
            (found["boxes"] * scale).float().cpu().numpy(),
            found["scores"].float().cpu().numpy(),
            found["labels"].cpu().numpy(),
            grids.cpu().numpy(),
        )


def build_detector(weights: str | Path | None, *, min_size: int = 800) -> Any:
    """Build torchvision's Mask R-CNN v2 with ResNet-50-FPN.

    Args:
        weights: ``COCO_V1`` downloads torchvision's weights; a path reads a state dict, or a checkpoint of
            the recipe ``dmn_aoa/detector``; None leaves random weights.
        min_size: Short side that frames are enlarged to, in pixels.

    Raises:
        MissingFileError: If the weight file does not exist.
        CheckpointError: If it does not fit, or cannot be downloaded.
    """
    from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

    named = weights if weights == "COCO_V1" else None
    doing = "Building" if named is None else "Loading or downloading the weights of"
    options = {"box_score_thresh": 0.0, "box_detections_per_img": 100, "min_size": min_size}
    try:
        with announced(_logger, f"{doing} Mask R-CNN"):
            model: Any = maskrcnn_resnet50_fpn_v2(weights=named, weights_backbone=None, **options)
    except OSError as error:  # URLError among them
        raise CheckpointError(
            f"The weights COCO_V1 of Mask R-CNN cannot be downloaded ({error}). Fetch "
            "`MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1` with torchvision elsewhere and give the file (`--weights`)."
        ) from error
    if weights is not None and named is None:
        _load(model, Path(weights))
    return model


def _load(model: torch.nn.Module, path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(
            f"{path} does not exist. Give torchvision's weight file of Mask R-CNN v2, or a checkpoint of "
            "the recipe dmn_aoa/detector."
        )
    try:
        state = read_torch_file(path)
        held = state.get("state_dict", state) if isinstance(state, dict) else state  # of a training run, or alone
        tensors = plain_tensors(held, path)
        model.load_state_dict({name.removeprefix(_TUNED): tensor for name, tensor in tensors.items()})
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not hold the weights of torchvision's maskrcnn_resnet50_fpn_v2 ({error})."
        ) from error
