"""TIFF files of several images: a mask of ids for every frame."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import GivenFrame
from vos_zoo.limits import pixel_excess
from vos_zoo.media.given_masks import mask_with_void
from vos_zoo.media.image_files import DAMAGE, open_image
from vos_zoo.media.pictures import count_pictures

if TYPE_CHECKING:
    from vos_zoo.media.mask_decoding import Mask
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["read_stack"]


@dataclass(frozen=True, kw_only=True)
class _Page(GivenFrame):
    """One image of a file, by its place in it."""

    path: Path
    page: int
    void: VoidChoice

    def ids(self, size: tuple[int, int]) -> Mask:
        name = f"Image {self.page} of `{self.path}`"
        try:
            with warnings.catch_warnings(), open_image(self.path) as image:
                warnings.simplefilter("ignore")  # Pillow's, of damaged tags: the error says what is wrong
                image.seek(self.page)
                excess = pixel_excess(image.height, image.width)
                if excess is not None:
                    raise MaskError(f"{name} is too large: {excess}.")
                picture = image.copy()
        except MaskError:
            raise
        except (*DAMAGE, Image.DecompressionBombError) as error:
            raise MaskError(f"{name} cannot be read ({error}). Save or copy the file again.") from error
        return mask_with_void(picture, name, self.void)


def read_stack(path: Path, frame_names: Sequence[str], all_names: Sequence[str], void: VoidChoice) -> list[GivenFrame]:
    """Read a file with an image for every frame: for every one of the video, or for every one to segment.

    Args:
        path: The file.
        frame_names: Names of the frames to segment.
        all_names: Names of all frames of the video.
        void: The value of pixels without an opinion.

    Raises:
        MaskError: If there are more or fewer images.
    """
    count = count_pictures(path)
    names = next((names for names in (all_names, frame_names) if len(names) == count), None)
    if names is None:
        selected = f", of which {len(frame_names)} are segmented" if len(frame_names) < len(all_names) else ""
        raise MaskError(
            f"Mask `{path}` holds {count} images, but the video has {len(all_names)} frames{selected}. A file of "
            "several images has one for every frame. To give some frames only, save each image as a PNG of its "
            f"own, named like its frame ({all_names[0]}.png), and give their folder."
        )
    return [
        _Page(name=name, origin=f"image {page} of `{path}`", path=path, page=page, void=void)
        for page, name in enumerate(names)
    ]
