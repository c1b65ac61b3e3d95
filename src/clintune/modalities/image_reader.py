"""The reader of images: a file becomes a square of pixels, augmented in views above 0."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode  # type: ignore[import-untyped]
from torchvision.transforms.v2 import functional as transform

from clintune.contracts import Item, Pieces
from clintune.core.seeding import derive_seed, generator
from clintune.modalities.image_encoders import Preprocessing
from clintune.modalities.images import read_bytes, read_image
from clintune.modalities.readers import ItemReader, claimed

Fit = Literal["pad", "squash", "crop"]
_BLANK_RANGE = 0.02
"""Range of values, of 0..1, up to which an image shows next to nothing."""


class ImageReader(ItemReader):
    """A reader of images, each one piece.

    `square` makes an image square: `pad` keeps all of it and its proportions, with black bars;
    `squash` keeps all of it; `crop` keeps the middle. Views above 0 are rotated, cropped,
    brightened or dimmed a little, and with `flip` mirrored half of the time. `build` of the
    modality says by `preprocessing` what its encoder takes.
    Pieces: `pixels` [P, 3, S, S].
    """

    media_column: ClassVar[str | None] = "image_path"
    takes_bytes: ClassVar[bool] = True
    preprocessing: Preprocessing

    def __init__(
        self,
        *,
        square: Fit,
        flip: bool,
        views: int,
        max_pieces: int,
        codes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(max_pieces=max_pieces, codes=codes, views=views)
        self.square = square
        self.flip = flip

    def encoder_needs(self) -> dict[str, Any]:
        """Return size, normalisation and interpolation."""
        return asdict(self.preprocessing)

    def row_filter(self) -> pl.Expr:
        """Select rows with an image, of `codes` alone unless it is None."""
        return claimed(pl.col("image_path").is_not_null(), self.codes)

    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Read one image, make it square, augment it for views above 0, and normalise it."""
        # Read.
        data = read_bytes(item.path, item.where) if item.content is None else item.content
        suffix = "" if item.path is None else item.path.suffix.lower()
        square = _square(read_image(data, suffix, item.where), self.square)

        # Resize; the content of the file decides the augmentation of a view.
        own = self.preprocessing
        resample = InterpolationMode(own.interpolation)
        size = [own.size] * 2
        if view == 0:
            image = transform.resize(square, size, interpolation=resample, antialias=True)
        else:
            content = hashlib.sha256(data).hexdigest()
            image = _augment(square, size, resample, self.flip, generator("augment", content, view))

        pixels = transform.normalize(image.clamp(0, 1), list(own.mean), list(own.std))
        hours = torch.tensor([item.hours], dtype=torch.float32)
        return Pieces(tensors={"pixels": pixels.unsqueeze(0)}, hours=hours)

    def is_blank(self, pieces: Pieces) -> bool:
        """Return whether an image has nearly one shade, without the black bars of `pad`."""
        own = self.preprocessing
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (own.mean, own.std))
        shades = pieces.tensors["pixels"][0] * std + mean
        if _is_even(shades):
            return True
        return self.square == "pad" and (_is_barred(shades, 1) or _is_barred(shades, 2))

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Write grey PNG images of a bright spot on noise, each of another shape."""
        draw = np.random.default_rng(derive_seed(seed, "fake images"))
        return [_fake_image(folder, number, draw) for number in range(n)]


def _square(image: Tensor, fit: str) -> Tensor:
    """Pad or crop an image [C, H, W] to a square, or leave it as it is."""
    height, width = image.shape[-2:]
    if fit == "pad":
        side = max(height, width)
        left, top = (side - width) // 2, (side - height) // 2
        image = transform.pad(image, [left, top, side - width - left, side - height - top])
    elif fit == "crop":
        image = transform.center_crop(image, [min(height, width)] * 2)
    return image


def _is_even(shades: Tensor) -> bool:
    """Return whether each channel of [3, H, W] has nearly one value."""
    return bool((shades.amax((1, 2)) - shades.amin((1, 2))).max() < _BLANK_RANGE)


def _is_barred(shades: Tensor, dim: int) -> bool:
    """Return whether an image [3, H, W] has nearly one shade between two black bars.

    The bars lie side by side along `dim`. The shade fades into black where they end, so that only
    the middle half of what is no bar counts.
    """
    across = 3 - dim
    if (shades.amax(across) - shades.amin(across)).max() >= _BLANK_RANGE:
        return False

    profile = shades.mean(across)
    light = profile.sum(0)
    inside = torch.nonzero(light > light.max() / 2).flatten()
    first, number = int(inside[0]), len(inside)
    middle = profile[:, first + number // 4 : first + number - number // 4]
    return _is_even(middle.unsqueeze(2))


def _augment(
    image: Tensor, size: list[int], resample: InterpolationMode, flip: bool, draws: torch.Generator
) -> Tensor:
    """Return a random view of the image.

    It shows 85 to 100 % of the sides, turned by up to 10 degrees, with intensities changed by up
    to 10 %.
    """
    scale, top, left, turn, bright, contrast, mirror = torch.rand(7, generator=draws).tolist()

    # Crop and turn.
    height, width = (round(side * (0.85 + 0.15 * scale)) for side in image.shape[-2:])
    top, left = round((image.shape[-2] - height) * top), round((image.shape[-1] - width) * left)
    image = transform.resized_crop(
        image, top, left, height, width, size, interpolation=resample, antialias=True
    )
    image = transform.rotate(image, 20 * turn - 10, interpolation=InterpolationMode.BILINEAR)

    # Change contrast and brightness.
    middle = image.mean()
    image = middle + (image - middle) * (0.9 + 0.2 * contrast) + 0.2 * (bright - 0.5)
    return transform.horizontal_flip(image) if flip and mirror < 0.5 else image


def _fake_image(folder: Path, number: int, draw: np.random.Generator) -> Item:
    # A bright spot on noise.
    height, width = draw.integers(40, 80, 2)
    rows, columns = np.mgrid[:height, :width]
    down, right = rows - draw.uniform(0, height), columns - draw.uniform(0, width)
    spot = np.exp(-(down**2 + right**2) / 200)
    pixels = (160 * spot + draw.uniform(0, 60, (height, width))).astype(np.uint8)

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"image_{number}.png"
    Image.fromarray(pixels).save(path)
    hours = round(draw.uniform(0, 500), 2)
    return Item(hours=hours, code="IMAGE//XRAY", where=f"fake.parquet row {number}", path=path)
