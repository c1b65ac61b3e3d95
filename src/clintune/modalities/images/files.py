"""Read images of any clinical origin as float32 [3, H, W] from 0 (black) to 1 (white)."""

import struct
import warnings
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from clintune.core.errors import ConfigError, DataError
from clintune.modalities.absent_media import why_absent
from clintune.modalities.images.pixels import (
    MOST_PIXELS,
    Floats,
    UnreadableImageError,
    check_shape,
    show,
)

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
"""The formats that pillow may open. It knows others, some of which start other programs."""

_REMEDY = "save it as 8 bit PNG or JPEG, 16 bit grey PNG, or DICOM"
_DAMAGED = (OSError, SyntaxError, EOFError, ValueError, IndexError, struct.error, zlib.error)
"""What decoders raise for a damaged file of their format."""
_BEGINNING = 512
"""Bytes that show whether a file is text."""

# Tags of TIFF 6.0, and the values of theirs that matter here.
_SUBFILE_TYPE, _BITS_PER_SAMPLE = 254, 258
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_PLANAR_CONFIGURATION, _PLANES = 284, 2
_SAMPLE_FORMAT, _SIGNED = 339, 2


def read_image(data: bytes, suffix: str, where: str) -> Tensor:
    """Decode a file of one of `FORMATS`, DICOM, or a `.npy` of bytes, to [3, H, W] in 0..1.

    Integers are scaled by the range of their type, DICOM by its own rescaling and window. Raises
    DataError naming `where` for a file that is empty or broken, and for an image that is too small
    or whose range of values is unknown.
    """
    if not data:
        raise DataError(f"{where}: the media file is empty; restore it or drop the row")

    # Decode; whatever goes wrong becomes one line.
    try:
        pixels = _decode(data, suffix)
        if not np.isfinite(pixels).all():
            raise UnreadableImageError("of values that are not finite")
    except ConfigError:
        raise
    except UnreadableImageError as error:
        raise DataError(f"{where}: the image is {error}; {_REMEDY}") from error
    except Exception as error:
        raise DataError(f"{where}: the image {_what_is_wrong(error, data)}; {_REMEDY}") from error

    # Give grey images three equal channels.
    grey = pixels.ndim == 2
    colour = np.repeat(pixels[None], 3, axis=0) if grey else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(colour, dtype=np.float32))


def read_bytes(path: Path | None, where: str) -> bytes:
    """Read a media file; raises DataError naming `where` when it cannot be read."""
    try:
        if path is None or not path.is_file():  # reading from a pipe would wait for ever
            raise FileNotFoundError
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: {why_absent(path)}") from error


def _decode(data: bytes, suffix: str) -> Floats:
    """Return pixels [H, W] or [H, W, 3] in 0..1."""
    if _is_text(data):
        raise UnreadableImageError("text and no image, as the pointers of Git LFS are")
    if suffix in (".dcm", ".dicom") or data[128:132] == b"DICM":
        return _read_dicom(data)
    if suffix == ".npy":
        return _scale(_load_array(data))

    with warnings.catch_warnings():
        # They tell of large images, and quote the values of broken tags.
        warnings.simplefilter("ignore")
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            check_shape((image.height, image.width))
            if _is_stack(image):
                raise UnreadableImageError("a stack of several frames")
            return _decode_picture(image, data)


def _is_text(data: bytes) -> bool:
    """Return whether a file begins with text; a PPM, which may be text, does not count."""
    begins_as_ppm = data[:1] == b"P" and data[1:2].isdigit()
    return not begins_as_ppm and all(
        32 <= byte < 127 or byte in b"\t\n\f\r" for byte in data[:_BEGINNING]
    )


def _what_is_wrong(error: Exception, data: bytes) -> str:
    """Return why a decoder gave up, in words that follow "the image"."""
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {MOST_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError) and not _is_recognised(data):
        return f"is of none of the formats that are read ({', '.join(FORMATS)}, DICOM, .npy)"
    if isinstance(error, _DAMAGED):
        return "is damaged, or ends early"
    return f"cannot be read ({type(error).__name__})"


def _is_recognised(data: bytes) -> bool:
    """Return whether a file begins as one of `FORMATS` does; call it after pillow tried them."""
    accepts = [Image.OPEN[name][1] for name in FORMATS]
    return any(accept is not None and accept(data[:16]) for accept in accepts)


def _load_array(data: bytes) -> NDArray[Any]:
    try:
        array = np.load(BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise UnreadableImageError(
            "no array of plain numbers, or one that is damaged or ends early"
        ) from error
    if not isinstance(array, np.ndarray):
        raise UnreadableImageError("an archive of arrays")
    return array


def _read_dicom(data: bytes) -> Floats:
    try:
        from clintune.modalities.images.dicom import read_dicom
    except ModuleNotFoundError as error:
        raise ConfigError("reading DICOM needs pydicom; pip install 'clintune[dicom]'") from error
    return read_dicom(data)


def _is_stack(image: Image.Image) -> bool:
    """Return whether a file holds several images.

    The smaller copies behind a photograph or a scan do not count.
    """
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":
        return False
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return True

    reduced = []
    for frame in range(1, frames):
        image.seek(frame)
        reduced.append(image.tag_v2.get(_SUBFILE_TYPE, 0) & 1)
    image.seek(0)
    return not all(reduced)


def _decode_picture(image: Image.Image, data: bytes) -> Floats:
    """Return the pixels of an image that pillow opened, [H, W] or [H, W, 3] in 0..1."""
    tags: Mapping[int, Any] = {}
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2

    # Refuse values of unknown range, and what pillow would read wrong. Pillow scales a PPM of mode
    # I to 16 bits.
    words = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) or (image.mode in ("I", "F") and not words):
        raise UnreadableImageError(
            "of signed, floating point or 32 bit values, whose range is unknown"
        )
    deep = len(image.getbands()) > 1 and _depth(image, data) > 8
    if deep and (image.format == "JPEG2000" or tags.get(_PLANAR_CONFIGURATION) == _PLANES):
        raise UnreadableImageError(
            "of several channels of more than 8 bits as JPEG 2000 or in planes"
        )

    # Grey of 16 bits. Pillow inverts an image whose 0 is white only below 16 bits.
    upright = ImageOps.exif_transpose(image)
    if words:
        grey = _scale(np.asarray(upright).astype(np.uint16), tags.get(_BITS_PER_SAMPLE, (16,))[0])
        return 1 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey

    # All else has 8 bits; of deeper colours pillow keeps 8, and 64 is a quarter of them.
    pixels = np.asarray(upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB"))
    if deep and int(pixels.max()) - int(pixels.min()) <= 64:
        raise UnreadableImageError(
            "of several channels of more than 8 bits that fill less than a quarter of them"
        )
    return _scale(pixels)


def _depth(image: Image.Image, data: bytes) -> int:
    """Return how many bits the values of a file have, in formats that allow more than 8.

    Pillow keeps 8 bits of colours.
    """
    if image.format == "PNG":
        return data[24]  # in the chunk IHDR, which is the first
    if image.format == "JPEG2000":
        return _component_bits(data)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    if isinstance(image, PpmImagePlugin.PpmImageFile):
        # The options hold the mode, and where values are no bytes also the greatest value.
        options = image.tile[0][3]
        return int(options[-1]).bit_length() if isinstance(options, tuple) else 8
    return 8


def _component_bits(data: bytes) -> int:
    """Return the bits of a JPEG 2000's deepest component.

    The segment SIZ, which begins the codestream, holds them.
    """
    place = data.find(b"\xff\x4f\xff\x51") + 40
    number = int.from_bytes(data[place : place + 2], "big")
    return max((size & 0x7F) + 1 for size in data[place + 2 : place + 2 + 3 * number : 3])


def _scale(pixels: NDArray[Any], bits: int | None = None) -> Floats:
    """Map bytes or words to 0..1 by the range of their type, or by that of so many `bits`."""
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise UnreadableImageError(f"of type {pixels.dtype.name}, whose range is unknown")
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] == 3):
        raise UnreadableImageError(f"of shape {list(pixels.shape)}, neither grey nor RGB")
    check_shape(pixels.shape)
    depth = bits or pixels.dtype.itemsize * 8
    return show(pixels, 0, 2**depth - 1, deep=depth > 8)
