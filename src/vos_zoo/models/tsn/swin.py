"""Swin transformers up to stride 16, built by timm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos_zoo.errors import ConfigError, ShapeError
from vos_zoo.layers.resnet import TrunkFeatures

_STRIDE = 16
_STAGES = 3


class SwinTrunk(nn.Module):
    """The first three stages of a timm Swin transformer, each followed by a layer normalisation.

    timm gives the raw residual stream of each stage; detection networks normalise it, and so does this one.

    Args:
        name: A timm Swin, such as ``swin_base_patch4_window7_224``.
        drop_path: Largest rate at which residual branches are left out in training.

    Raises:
        ConfigError: If timm does not know the name, or the network is not a Swin.

    Source: Liu et al., "Swin Transformer", ICCV 2021, Section 3; output normalisation as in its detection code.
    """

    def __init__(self, name: str, *, drop_path: float = 0.0) -> None:
        super().__init__()
        import timm  # slow to load, and only this backbone needs it

        if not name.startswith("swin_") or not timm.is_model(name):
            raise ConfigError(
                f"Backbone {name!r} is not a Swin that timm knows. Expected one such as swin_base_patch4_window7_224."
            )
        self.name = name
        # A fixed image size would make timm refuse every other one.
        self.model = timm.create_model(
            name,
            pretrained=False,
            features_only=True,
            out_indices=tuple(range(_STAGES)),
            strict_img_size=False,
            drop_path_rate=drop_path,
        )
        channels = self.model.feature_info.channels()
        self.channels: tuple[int, int, int] = (channels[0], channels[1], channels[2])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in channels)

    def forward(self, image: Tensor) -> TrunkFeatures:
        """Compute features of (B, 3, H, W).

        Raises:
            ShapeError: If H or W is not a multiple of 16.
        """
        if image.shape[2] % _STRIDE or image.shape[3] % _STRIDE:
            raise ShapeError(
                f"{self.name} got an image of {image.shape[3]}x{image.shape[2]} pixels. Expected multiples of "
                f"{_STRIDE}; pad the image, as a session does."
            )
        maps = [norm(stage).permute(0, 3, 1, 2) for norm, stage in zip(self.norms, self.model(image), strict=True)]
        return TrunkFeatures(*maps)

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Start from timm's ImageNet weights; the output normalisations keep their initial values.

        Args:
            state: Tensors of timm's classifier of the same name, ``patch_embed.*`` and ``layers.*``.

        Raises:
            ConfigError: If a parameter of this trunk has no counterpart of the same shape.
        """
        own = self.model.state_dict()
        loaded = {}
        for key, tensor in own.items():
            source = state.get(key.replace("layers_", "layers.", 1))
            if source is None and not key.endswith("relative_position_index"):
                raise ConfigError(
                    f"Backbone weights do not fit: {key} is missing. Use ImageNet weights of {self.name}."
                )
            if source is not None and source.shape != tensor.shape:
                raise ConfigError(
                    f"Backbone weights do not fit: {key} has shape {tuple(tensor.shape)}, the file holds "
                    f"{tuple(source.shape)}. Use ImageNet weights of {self.name}."
                )
            loaded[key] = tensor if source is None else source.to(tensor)
        with torch.no_grad():
            self.model.load_state_dict(loaded)
