"""Read images of any clinical origin into one form: float32 [3, H, W] from 0 (black) to 1 (white)."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from clintune.core.errors import ConfigError, DataError

_REMEDY = "save it as 8 or 16 bit PNG, JPEG or DICOM"


def read_image(data: bytes, suffix: str, where: str) -> Tensor:
    """Decode PNG, JPEG and what else pillow reads, DICOM, or a `.npy` of bytes, to [3, H, W] in 0..1.

    Integers are scaled by the range of their type, DICOM by its own rescaling and window. Raises DataError naming
    `where` for a file that is broken or whose range of values is not known.
    """
    try:
        pixels = _decode(data, suffix)
    except (DataError, ConfigError):
        raise
    except Exception as error:
        raise DataError(f"{where}: the image cannot be read ({type(error).__name__}); {_REMEDY}") from error
    if isinstance(pixels, str):
        raise DataError(f"{where}: the image is {pixels}; {_REMEDY}")
    grey = pixels.ndim == 2
    colour = np.repeat(pixels[None], 3, axis=0) if grey else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(colour, dtype=np.float32))


def read_bytes(path: Path | None, where: str) -> bytes:
    """Read a media file; raises DataError naming `where` when there is none."""
    try:
        if path is None:
            raise FileNotFoundError
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: the media file is missing or unreadable; restore it or drop the row") from error


def _decode(data: bytes, suffix: str) -> NDArray[np.float32] | str:
    """Return pixels [H, W] or [H, W, 3] in 0..1, or words for what is wrong with them."""
    if suffix in (".dcm", ".dicom") or data[128:132] == b"DICM":
        return _decode_dicom(data)
    if suffix == ".npy":
        return _scale(np.load(BytesIO(data), allow_pickle=False))
    with Image.open(BytesIO(data)) as image:
        if getattr(image, "n_frames", 1) > 1:
            return "a stack of several frames"
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            return _scale(np.asarray(upright).astype(np.uint16))
        if upright.mode in ("I", "F"):
            return "of 32 bit values, whose range is unknown"
        return _scale(np.asarray(upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB")))


def _scale(pixels: NDArray[Any]) -> NDArray[np.float32] | str:
    if pixels.dtype not in (np.uint8, np.uint16):
        return f"of type {pixels.dtype}, whose range is unknown"
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] == 3):
        return f"of shape {list(pixels.shape)}, neither grey nor RGB"
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _decode_dicom(data: bytes) -> NDArray[np.float32] | str:
    try:
        import pydicom
        from pydicom.pixels.processing import apply_modality_lut, convert_color_space
    except ImportError as error:
        raise ConfigError("reading DICOM needs pydicom; pip install clintune[dicom]") from error
    dataset = pydicom.dcmread(BytesIO(data))
    pixels = dataset.pixel_array
    kind = dataset.PhotometricInterpretation
    if kind.startswith(("YBR", "RGB")):
        return _scale(convert_color_space(pixels, kind, "RGB") if kind.startswith("YBR") else pixels)
    if not kind.startswith("MONOCHROME"):
        return f"of the photometric interpretation {kind}, which is not supported"
    if pixels.ndim != 2:
        return "a stack of several frames"
    grey = _window(apply_modality_lut(pixels, dataset), dataset)
    return 1 - grey if kind == "MONOCHROME1" else grey


def _window(values: NDArray[Any], dataset: Any) -> NDArray[np.float32]:
    """Map values to 0..1 by the first window of the file (DICOM PS3.3 C.11.2), else by the range of its stored bits."""
    if "WindowCenter" in dataset:
        centre, width = (np.atleast_1d(dataset[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        centre, width = float(centre), float(width)
        function = dataset.get("VOILUTFunction", "LINEAR")
        if function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)), dtype=np.float32)
        if function == "LINEAR":
            centre, width = centre - 0.5, max(width - 1, 1e-6)
        return np.asarray((values - centre) / width + 0.5, dtype=np.float32).clip(0, 1)
    if "VOILUTSequence" in dataset:
        from pydicom.pixels.processing import apply_voi

        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        return np.asarray(apply_voi(values.astype(np.int64), dataset) / (2**bits - 1), dtype=np.float32)
    steps = 2**dataset.BitsStored
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    low = -(steps // 2) if dataset.PixelRepresentation == 1 else 0
    return np.asarray(((values - intercept) / slope - low) / (steps - 1), dtype=np.float32).clip(0, 1)
