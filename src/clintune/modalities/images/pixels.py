"""Map the numbers of a decoded image to 0 (black) .. 1 (white)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Most pixels of an image, and of the square around it.

Pillow, too, takes a larger image for a decompression bomb.
"""

SMALLEST_SIDE = 8
"""Fewest pixels of an image's shorter side. A smaller image is a stand-in and shows nothing."""


class UnreadableImageError(ValueError):
    """An error whose text says what is wrong with an image, in words that follow "the image is"."""


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise UnreadableImageError for an image [H, W, ...] of no, too few or too many pixels."""
    if 0 in shape:
        raise UnreadableImageError(f"of shape {list(shape)}, without a pixel")
    if max(shape[:2]) ** 2 > MOST_PIXELS:
        raise UnreadableImageError(
            f"of shape {list(shape)}, larger than {MOST_PIXELS**0.5:,.0f} pixels a side"
        )
    if min(shape[:2]) < SMALLEST_SIDE:
        raise UnreadableImageError(f"only {shape[1]} by {shape[0]} pixels")


def show(
    values: NDArray[Any],
    low: float,
    high: float,
    *,
    deep: bool,
    padding: NDArray[np.bool_] | None = None,
) -> Floats:
    """Map values from `low` (black) to `high` (white), the range that the file names, to 0..1.

    Files name more bits than they use. Where a `deep` image, stored in more than 8 bits, fills less
    than a quarter of the range, its own lowest value is black and its highest white, as in every
    viewer. Pixels marked by `padding` do not count.
    """
    own = values if padding is None or padding.all() else values[~padding]
    least, most = float(own.min()), float(own.max())
    if deep and 0 < most - least < (high - low) / 4:
        low, high = least, most
    return np.asarray((values - low) / (high - low), dtype=np.float32).clip(0, 1)
