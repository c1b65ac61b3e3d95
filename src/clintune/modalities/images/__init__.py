"""Image files of any format as pixels, and the encoders that read them."""

from clintune.modalities.images.files import read_image

__all__ = ["read_image"]
