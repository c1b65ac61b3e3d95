"""Read images of any clinical origin into one form: float32 [3, H, W] from 0 (black) to 1 (white)."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin
from torch import Tensor

from clintune.core.errors import ConfigError, DataError
from clintune.modalities.pixels import Floats, UnreadableImageError, check_shape, show

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
"""What pillow may open: it knows many more, some of which start other programs."""

_REMEDY = "save it as 8 or 16 bit PNG, JPEG or DICOM"


def read_image(data: bytes, suffix: str, where: str) -> Tensor:
    """Decode a file of one of `FORMATS`, DICOM, or a `.npy` of bytes, to [3, H, W] in 0..1.

    Integers are scaled by the range of their type, DICOM by its own rescaling and window. Raises DataError naming
    `where` for a file that is broken or whose range of values is not known.
    """
    try:
        pixels = _decode(data, suffix)
    except ConfigError:
        raise
    except UnreadableImageError as error:
        raise DataError(f"{where}: the image is {error}; {_REMEDY}") from error
    except Exception as error:
        raise DataError(f"{where}: the image cannot be read ({type(error).__name__}); {_REMEDY}") from error
    grey = pixels.ndim == 2
    colour = np.repeat(pixels[None], 3, axis=0) if grey else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(colour, dtype=np.float32))


def read_bytes(path: Path | None, where: str) -> bytes:
    """Read a media file; raises DataError naming `where` when there is none."""
    try:
        if path is None or not path.is_file():  # to read from a pipe would wait for ever
            raise FileNotFoundError
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: the media file is missing or unreadable; restore it or drop the row") from error


def _decode(data: bytes, suffix: str) -> Floats:
    """Return pixels [H, W] or [H, W, 3] in 0..1."""
    if suffix in (".dcm", ".dicom") or data[128:132] == b"DICM":
        return _read_dicom(data)
    if suffix == ".npy":
        return _scale(np.load(BytesIO(data), allow_pickle=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, and of broken tags whose values they quote
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            check_shape((image.height, image.width))
            if _is_stack(image):
                raise UnreadableImageError("a stack of several frames")
            return _decode_picture(image)


def _read_dicom(data: bytes) -> Floats:
    try:
        from clintune.modalities.dicom import read_dicom
    except ModuleNotFoundError as error:
        raise ConfigError("reading DICOM needs pydicom; pip install 'clintune[dicom]'") from error
    return read_dicom(data)


def _is_stack(image: Image.Image) -> bool:
    """Return whether a file holds several images: the smaller copies behind a photograph or a scan are none."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":
        return False
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return True
    reduced = []
    for frame in range(1, frames):
        image.seek(frame)
        reduced.append(image.tag_v2.get(254, 0) & 1)
    image.seek(0)
    return not all(reduced)


def _decode_picture(image: Image.Image) -> Floats:
    bits, inverted = 16, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits, inverted = image.tag_v2.get(258, (16,))[0], image.tag_v2.get(262) == 0
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        grey = _scale(np.asarray(upright).astype(np.uint16), bits)
        return 1 - grey if inverted else grey  # pillow sees to it below 16 bits only
    if upright.mode in ("I", "F"):
        raise UnreadableImageError("of 32 bit values, whose range is unknown")
    return _scale(np.asarray(upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB")))


def _scale(pixels: NDArray[Any], bits: int | None = None) -> Floats:
    """Map bytes or words to 0..1 by the range of their type, or of so many bits of it."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnreadableImageError(f"of type {pixels.dtype}, whose range is unknown")
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] == 3):
        raise UnreadableImageError(f"of shape {list(pixels.shape)}, neither grey nor RGB")
    check_shape(pixels.shape)
    return show(pixels, 0, 2 ** (bits or pixels.dtype.itemsize * 8) - 1)
