"""DICOM of one frame as it is meant to be seen: decoded by pydicom, then modality values, then what a window shows.

PS3.3 C.11.1 (modality LUT and rescale) and C.11.2 (VOI LUT and window). A tag without a value counts as no tag.
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from clintune.modalities.pixels import Floats, UnreadableImageError, check_shape, show

_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)

Voi = Callable[[NDArray[Any]], Floats]
"""Modality values to 0..1."""


def read_dicom(data: bytes) -> Floats:
    """Decode a DICOM file to pixels [H, W], or [H, W, 3] where it has colours, in 0..1.

    Raises UnreadableImageError for what cannot be shown for certain, and what pydicom raises for a broken file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values of the file
        dataset = dcmread(BytesIO(data), force=True)
        pixels, kind = _decode(dataset)
        check_shape(pixels.shape)
        if kind == "RGB":
            return _colours(pixels, dataset.BitsStored)
        if kind == "PALETTE COLOR":
            return _palette(pixels, dataset)
        if not kind.startswith("MONOCHROME"):
            raise UnreadableImageError(f"of the photometric interpretation {_known(kind)}, which is not supported")
        if pixels.ndim != 2:
            raise UnreadableImageError("a stack of several frames")
        grey = _grey(pixels, _with_frame_macros(dataset))
    return 1 - grey if kind == "MONOCHROME1" else grey


def _decode(dataset: Any) -> tuple[NDArray[Any], str]:
    """Return the pixels and what they are, after pydicom's own conversion of YBR to RGB."""
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableImageError("no DICOM file, or one without pixels")
    check_shape((dataset.Rows or 0, dataset.Columns or 0))
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UnreadableImageError("a stack of several frames")
    syntax = _transfer_syntax(dataset)
    options = as_pixel_options(dataset, number_of_frames=1)

    # Old files keep their bits at the upper end of a word; codecs other than RLE hand them out at the lower.
    spare = 0
    if "HighBit" in dataset and (not syntax.is_encapsulated or syntax == RLELossless):
        spare = max(min(dataset.HighBit + 1, dataset.BitsAllocated) - dataset.BitsStored, 0)
        options["bits_stored"] = dataset.BitsStored + spare

    converted = _is_converted(dataset, syntax)
    if converted:
        options["raw"] = True
    if syntax in _JPEG and dataset.SamplesPerPixel == 3:
        options["decoding_plugin"] = "pillow"  # so that colours do not depend on what is installed

    try:
        pixels, properties = get_decoder(syntax).as_array(dataset, **options)
    except (RuntimeError, NotImplementedError) as error:
        remedy = "" if find_spec("pylibjpeg") else ", which may need pylibjpeg (pip install 'clintune[dicom]')"
        raise UnreadableImageError(f"broken, or compressed as no decoder here reads it{remedy}") from error

    kind = "RGB" if converted else str(properties["photometric_interpretation"])
    return pixels >> spare if spare else pixels, kind


def _is_converted(dataset: Any, syntax: UID) -> bool:
    """Return whether decoding alone gives RGB, because the compressed stream says what its colours are.

    A JPEG says so by Adobe's marker, a JPEG 2000 by mixing its components; pydicom would convert either once more
    where the file calls it YBR.
    """
    if dataset.SamplesPerPixel != 3 or not syntax.is_encapsulated:
        return False
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1), b"")
    if syntax in JPEG2000TransferSyntaxes:
        return _mixes_components(stream)
    if syntax not in _JPEG:
        return False
    with Image.open(BytesIO(stream), formats=["JPEG"]) as picture:
        return "adobe_transform" in picture.info


def _mixes_components(stream: bytes) -> bool:
    """Return what the segment COD in the main header of a JPEG 2000 says of a transformation of the components."""
    place = stream.find(b"\xff\x4f\xff\x51") + 2
    while stream[place : place + 2] not in (b"\xff\x90", b""):
        if stream[place : place + 2] == b"\xff\x52":
            return stream[place + 8] == 1
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return False


def _transfer_syntax(dataset: Any) -> UID:
    """Return the transfer syntax, of a file without a header the one that its bytes show; the dataset keeps it."""
    dataset.ensure_file_meta()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return UID(dataset.file_meta.TransferSyntaxUID)


def _with_frame_macros(dataset: Any) -> Any:
    """Copy what an enhanced file says of all frames, and of its only one, to where plain files say it."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for group in (dataset.get(groups) or [])[:1]:
                for values in (group.get(macro) or [])[:1]:
                    dataset.update(values)
    return dataset


def _colours(pixels: NDArray[Any], bits: int) -> Floats:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind != "u":
        raise UnreadableImageError(f"of colours of shape {list(pixels.shape)} and type {pixels.dtype}")
    return show(pixels, 0, 2**bits - 1)


def _palette(pixels: NDArray[Any], dataset: Any) -> Floats:
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    # pydicom would wrap numbers beyond the table, which stand for its ends.
    inside = pixels.astype(np.int64).clip(first, first + (entries or 2**16) - 1)
    colours = apply_color_lut(inside, dataset)[..., :3]
    if colours.ndim != 3:
        raise UnreadableImageError("a stack of several frames")
    return show(colours, 0, np.iinfo(colours.dtype).max)


def _grey(pixels: NDArray[Any], dataset: Any) -> Floats:
    """Return what a viewer shows: a window or table where the file has one, else the range of its values."""
    if not np.isfinite(pixels).all():
        raise UnreadableImageError("of values that are not finite")
    values, ends = _modality(pixels, dataset)
    if shown := _window(dataset) or _voi_table(dataset):
        return shown(values)
    if ends is None:
        raise UnreadableImageError("of floating point values without a window, whose range is unknown")
    return show(values, *ends)


def _modality(pixels: NDArray[Any], dataset: Any) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return modality values and the ends of their range, None where it is unknown."""
    if table := _first_table(dataset, "ModalityLUTSequence"):
        looked_up, most = table(pixels)
        return looked_up, (0, most)
    slope, intercept = _numbers(dataset, "RescaleSlope")[0], _numbers(dataset, "RescaleIntercept")[0]
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise UnreadableImageError("rescaled by a slope of 0")
    values = pixels * slope + intercept
    if pixels.dtype.kind == "f":
        return values, None
    low = -(2 ** (dataset.BitsStored - 1)) if pixels.dtype.kind == "i" else 0
    ends = sorted((low * slope + intercept, (low + 2**dataset.BitsStored - 1) * slope + intercept))
    return values, (ends[0], ends[1])


def _window(dataset: Any) -> Voi | None:
    """Return the first window that has a centre and a width."""
    pairs = zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False)
    for centre, width in pairs:
        if centre is not None and width is not None and width > 0:
            return _shown_by(centre, width, str(dataset.get("VOILUTFunction") or "LINEAR").upper())
    return None


def _shown_by(centre: float, width: float, function: str) -> Voi:
    if function == "SIGMOID":

        def sigmoid(values: NDArray[Any]) -> Floats:
            with np.errstate(over="ignore"):
                return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)), dtype=np.float32)

        return sigmoid
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise UnreadableImageError("shown by a VOI LUT function that is not supported")
    if function == "LINEAR" and width >= 1:  # below 1 only the exact function has a meaning
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return lambda values: np.asarray((values - centre) / width + 0.5, dtype=np.float32).clip(0, 1)


def _voi_table(dataset: Any) -> Voi | None:
    """Return what maps values by the first VOI LUT; white is its greatest entry: many use fewer bits than they say."""
    table = _first_table(dataset, "VOILUTSequence")
    if table is None:
        return None

    def shown(values: NDArray[Any]) -> Floats:
        looked_up, most = table(values)
        return np.asarray(looked_up / most, dtype=np.float32)

    return shown


def _first_table(dataset: Any, name: str) -> Callable[[NDArray[Any]], tuple[NDArray[Any], int]] | None:
    """Return what maps values by a sequence's first table to its entries, with the greatest of them."""
    item = next(iter(dataset.get(name) or []), None)
    if item is None or not item.get("LUTDescriptor") or not item.get("LUTData"):
        return None
    entries, first, _ = (int(number) for number in item.LUTDescriptor)
    table = _entries(item.LUTData, entries % 2**16 or 2**16, dataset.file_meta.TransferSyntaxUID.is_little_endian)
    most = int(table.max())
    if most == 0:
        raise UnreadableImageError("shown by a table of nothing but zeros")

    def look_up(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
        # Written as unsigned, the first value that a table of negative ones maps looks like a great one.
        start = first - 2**16 if first >= 2**15 and values.min() < 0 else first
        return table[(np.rint(values).astype(np.int64) - start).clip(0, len(table) - 1)], most

    return look_up


def _entries(data: Any, number: int, little_endian: bool) -> NDArray[Any]:
    """Return the entries of a table; those of 8 bits stand side by side in a word, or each in one of its own."""
    order = "<" if little_endian else ">"
    raw = data if isinstance(data, bytes) else np.atleast_1d(data).astype(f"{order}u2").tobytes()
    table = np.frombuffer(raw, f"{order}u2" if len(raw) >= 2 * number else "u1")[:number]
    if len(table) < number:
        raise UnreadableImageError("shown by a table that is shorter than it says")
    return table


def _numbers(dataset: Any, name: str) -> list[float | None]:
    """Return the values of a tag, one at least, None where there is none."""
    value = dataset.get(name)
    several = [value] if value is None or isinstance(value, str | float | int) else list(value)
    numbers = [None if one in (None, "") else float(one) for one in several] or [None]
    return [None if one is None or not np.isfinite(one) else one for one in numbers]


def _known(kind: str) -> str:
    return kind if kind in [one.value for one in PhotometricInterpretation] else "of its own"
