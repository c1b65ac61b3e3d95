"""Read a DICOM image of one frame as a viewer shows it.

pydicom decodes the pixels; they become modality values (PS3.3 C.11.1: modality LUT or rescale),
and those what a VOI LUT or a window shows (C.11.2). A tag without a value counts as no tag.

Windows and tables are read here: pydicom fails at empty tags, passes over a slope without an
intercept, believes the bits that a table says it has, and takes three times as long for a window.
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

    Raises UnreadableImageError for an image whose look is uncertain, and what pydicom raises for
    a broken file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings quote values of the file
        dataset = dcmread(BytesIO(data), force=True)
        pixels, kind = _decode(dataset)
        check_shape(pixels.shape)

        # Colours.
        if kind == "RGB":
            return _colours(pixels, dataset.BitsStored)
        if kind == "PALETTE COLOR":
            return _palette(pixels, dataset)

        # Shades of grey.
        if not kind.startswith("MONOCHROME"):
            known = _known(kind)
            raise UnreadableImageError(
                f"of the photometric interpretation {known}, which is not supported"
            )
        if pixels.ndim != 2:
            raise UnreadableImageError("a stack of several frames")
        padding = _padding(pixels, dataset)
        grey = _grey(pixels, _with_frame_macros(dataset), padding)

    shown = 1 - grey if kind == "MONOCHROME1" else grey
    shown[padding] = 0
    return shown


def _decode(dataset: Any) -> tuple[NDArray[Any], str]:
    """Return the pixels and their photometric interpretation; pydicom converts YBR to RGB."""
    _check_header(dataset)
    syntax = _transfer_syntax(dataset)
    options = as_pixel_options(dataset, number_of_frames=1)

    # Old files keep their bits at the upper end of a word. Codecs other than RLE return them at
    # the lower end.
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
        remedy = ", which may need pylibjpeg (pip install 'clintune[dicom]')"
        remedy = "" if find_spec("pylibjpeg") else remedy
        raise UnreadableImageError(
            f"broken, or compressed as no decoder here reads it{remedy}"
        ) from error

    kind = "RGB" if converted else str(properties["photometric_interpretation"])
    return pixels >> spare if spare else pixels, kind


def _check_header(dataset: Any) -> None:
    """Raise UnreadableImageError for a file that cannot hold an image of one frame."""
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableImageError("no DICOM file, or one without pixels")
    check_shape((dataset.Rows or 0, dataset.Columns or 0))
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UnreadableImageError("a stack of several frames")
    if "PixelData" in dataset and not 1 <= dataset.BitsStored <= dataset.BitsAllocated:
        raise UnreadableImageError("of a number of stored bits that cannot be")


def _is_converted(dataset: Any, syntax: UID) -> bool:
    """Return whether decoding alone gives RGB, because the compressed stream names its colours.

    A JPEG does so by Adobe's marker, a JPEG 2000 by mixing its components. pydicom would convert
    either a second time where the file calls it YBR.
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
    """Return whether a JPEG 2000 mixes its components, by the segment COD of its main header."""
    place = stream.find(b"\xff\x4f\xff\x51") + 2
    while stream[place : place + 2] not in (b"\xff\x90", b""):
        if stream[place : place + 2] == b"\xff\x52":
            return stream[place + 8] == 1
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return False


def _transfer_syntax(dataset: Any) -> UID:
    """Return the transfer syntax, and store it in the dataset.

    A file without a header has the one that its bytes show.
    """
    dataset.ensure_file_meta()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return UID(dataset.file_meta.TransferSyntaxUID)


def _with_frame_macros(dataset: Any) -> Any:
    """Copy the tags that an enhanced file has per frame to where plain files have them."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for group in (dataset.get(groups) or [])[:1]:
                for values in (group.get(macro) or [])[:1]:
                    dataset.update(values)
    return dataset


def _colours(pixels: NDArray[Any], bits: int) -> Floats:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind != "u":
        shape = list(pixels.shape)
        raise UnreadableImageError(f"of colours of shape {shape} and type {pixels.dtype}")
    return show(pixels, 0, 2**bits - 1, deep=bits > 8)


def _palette(pixels: NDArray[Any], dataset: Any) -> Floats:
    """Return the colour of each pixel's palette entry; entries beyond the palette are its ends."""
    if pixels.ndim != 2:
        raise UnreadableImageError("a stack of several frames")
    number, first, bits = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
    if bits not in (8, 16):
        raise UnreadableImageError("of a palette of neither 8 nor 16 bits")
    number = number % 2**16 or 2**16
    little_endian = dataset.file_meta.TransferSyntaxUID.is_little_endian

    # Read the palette [number, 3].
    if dataset.get("RedPaletteColorLookupTableData"):
        names = [f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")]
        columns = [_entries(dataset[name].value, number, little_endian) for name in names]
        table = np.stack(columns, axis=-1)
    elif bits == 8 and (number > 256 or not little_endian):  # pydicom would take other entries
        raise UnreadableImageError(
            "of a palette of 8 bits in segments, of too many entries or in big endian"
        )
    else:
        table = apply_color_lut(np.arange(first, first + number), dataset)[..., :3]

    # Look the pixels up. Some files say 8 bits and have 16.
    start = _signed(first) if pixels.dtype.kind == "i" else first
    white = 2**8 - 1 if bits == 8 and table.max() < 2**8 else 2**16 - 1
    colours = table[(pixels.astype(np.int64) - start).clip(0, number - 1)]
    return show(colours, 0, white, deep=white > 255)


def _padding(pixels: NDArray[Any], dataset: Any) -> NDArray[np.bool_]:
    """Mark the pixels that lie around the image.

    They have PixelPaddingValue, or a value from there to PixelPaddingRangeLimit.
    """
    value = _numbers(dataset, "PixelPaddingValue")[0]
    limit = _numbers(dataset, "PixelPaddingRangeLimit")[0]
    if value is None or pixels.dtype.kind == "f":
        return np.zeros(pixels.shape, dtype=np.bool_)

    signed = pixels.dtype.kind == "i"
    both = (int(value), int(value if limit is None else limit))
    ends = [_signed(end) if signed else end % 2**16 for end in both]
    return np.asarray((pixels >= min(ends)) & (pixels <= max(ends)))


def _grey(pixels: NDArray[Any], dataset: Any, padding: NDArray[np.bool_]) -> Floats:
    """Return what a viewer shows, by the file's window or table, else by its range of values."""
    if not np.isfinite(pixels).all():
        raise UnreadableImageError("of values that are not finite")
    values, ends, deep = _modality(pixels, dataset)
    if shown := _window(dataset) or _voi_table(dataset, signed=ends is None or ends[0] < 0):
        return shown(values)
    if ends is None:
        raise UnreadableImageError(
            "of floating point values without a window, whose range is unknown"
        )
    return show(values, *ends, deep=deep, padding=padding)


def _modality(
    pixels: NDArray[Any], dataset: Any
) -> tuple[NDArray[Any], tuple[float, float] | None, bool]:
    """Return modality values, the ends of their range, and whether it has over 8 bits.

    The ends are None where the range is unknown.
    """
    if table := _first_table(dataset, "ModalityLUTSequence", pixels.dtype.kind == "i"):
        looked_up, most = table(pixels)
        return looked_up, (0, most), most > 255

    # Rescale.
    slope = _numbers(dataset, "RescaleSlope")[0]
    slope = 1.0 if slope is None else slope
    intercept = _numbers(dataset, "RescaleIntercept")[0] or 0.0
    if slope == 0:
        raise UnreadableImageError("rescaled by a slope of 0")
    values = pixels * slope + intercept

    # The range follows from the number of stored bits.
    if pixels.dtype.kind == "f":
        return values, None, True
    low = -(2 ** (dataset.BitsStored - 1)) if pixels.dtype.kind == "i" else 0
    ends = sorted((low * slope + intercept, (low + 2**dataset.BitsStored - 1) * slope + intercept))
    return values, (ends[0], ends[1]), dataset.BitsStored > 8


def _window(dataset: Any) -> Voi | None:
    """Return the function of the first window that has a centre and a width."""
    pairs = zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False)
    for centre, width in pairs:
        if centre is not None and width is not None and width > 0:
            return _shown_by(centre, width, str(dataset.get("VOILUTFunction") or "LINEAR").upper())
    return None


def _shown_by(centre: float, width: float, function: str) -> Voi:
    """Return the VOI function of a window."""
    if function == "SIGMOID":

        def sigmoid(values: NDArray[Any]) -> Floats:
            with np.errstate(over="ignore"):
                shown = 1 / (1 + np.exp(-4 * (values - centre) / width))
            return np.asarray(shown, dtype=np.float32)

        return sigmoid

    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise UnreadableImageError("shown by a VOI LUT function that is not supported")
    if function == "LINEAR" and width >= 1:  # below 1 only the exact function has a meaning
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return lambda values: np.asarray((values - centre) / width + 0.5, dtype=np.float32).clip(0, 1)


def _voi_table(dataset: Any, *, signed: bool) -> Voi | None:
    """Return the function of the first VOI LUT.

    White is its greatest entry, because many tables use fewer bits than they say.
    """
    table = _first_table(dataset, "VOILUTSequence", signed)
    if table is None:
        return None

    def shown(values: NDArray[Any]) -> Floats:
        looked_up, most = table(values)
        return np.asarray(looked_up / most, dtype=np.float32)

    return shown


def _first_table(
    dataset: Any, name: str, signed: bool
) -> Callable[[NDArray[Any]], tuple[NDArray[Any], int]] | None:
    """Return a function from values to entries of a sequence's first table, and the greatest entry.

    None where there is no table.
    """
    item = next(iter(dataset.get(name) or []), None)
    if item is None or not item.get("LUTDescriptor") or not item.get("LUTData"):
        return None

    entries, first, _ = (int(number) for number in item.LUTDescriptor)
    little_endian = dataset.file_meta.TransferSyntaxUID.is_little_endian
    table = _entries(item.LUTData, entries % 2**16 or 2**16, little_endian)
    most = int(table.max())
    if most == 0:
        raise UnreadableImageError("shown by a table of nothing but zeros")

    start = _signed(first) if signed else first

    def look_up(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
        return table[(np.rint(values).astype(np.int64) - start).clip(0, len(table) - 1)], most

    return look_up


def _signed(number: int) -> int:
    """Return 16 bits as a signed number; files write negative numbers as if they were unsigned."""
    return (number + 2**15) % 2**16 - 2**15


def _entries(data: Any, number: int, little_endian: bool) -> NDArray[Any]:
    """Return the entries of a table.

    Entries of 8 bits stand two in a word, the lower one first, or each in a word of its own.
    """
    if isinstance(data, bytes):
        order = "<" if little_endian else ">"
        words = np.frombuffer(data + b"\0" * (len(data) % 2), f"{order}u2")
    else:
        words = np.atleast_1d(data).astype(np.uint16)

    table = words if len(words) >= number else words.astype("<u2").view(np.uint8)
    if len(table) < number:
        raise UnreadableImageError("shown by a table that is shorter than it says")
    return table[:number]


def _numbers(dataset: Any, name: str) -> list[float | None]:
    """Return the values of a tag; a missing value is None, and there is at least one."""
    value = dataset.get(name)
    several = [value] if value is None or isinstance(value, str | float | int) else list(value)
    numbers = [None if one in (None, "") else float(one) for one in several] or [None]
    return [None if one is None or not np.isfinite(one) else one for one in numbers]


def _known(kind: str) -> str:
    """Return a photometric interpretation that the standard knows, else "of its own"."""
    return kind if kind in [one.value for one in PhotometricInterpretation] else "of its own"
