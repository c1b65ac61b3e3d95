from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
)

from clintune.core.errors import DataError
from clintune.modalities.images.files import read_image

GREY = np.linspace(0, 255, 108, dtype=np.uint8).reshape(9, 12)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
SMOOTH = np.array(Image.fromarray(COLOUR).resize((64, 48), Image.Resampling.BICUBIC))


def dicom(pixels, *, syntax=ExplicitVRLittleEndian, **tags):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = Dataset()
    dataset.file_meta = meta
    bits = pixels.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    data = BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue(), dataset


def read(data):
    return read_image(data, ".dcm", "images.parquet row 4")


def grey(pixels, **tags):
    return read(dicom(pixels, **tags)[0])[0]


def large(values):
    """Return an array each of whose values fills 8 by 8 pixels."""
    return np.asarray(values).repeat(8, axis=0).repeat(8, axis=1)


def as_unsigned(dataset, **tags):
    """Return a file of signed pixels whose tags are written as unsigned numbers."""
    for name, value in tags.items():
        dataset.add_new(name, "US", value)
    data = BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue()


def table(entries, first=0, bits=16, kind="uint16"):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, kind).tobytes())
    return [item]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_dicom_window_gives_what_pydicom_gives(function):
    pixels = np.arange(0, 2400, 25, dtype=np.int16).reshape(8, 12)
    tags = {
        "RescaleSlope": 2,
        "RescaleIntercept": -1000,
        "WindowCenter": [400, 1],
        "WindowWidth": [1500, 2],
    }
    data, dataset = dicom(
        pixels, BitsStored=12, HighBit=11, PixelRepresentation=0, VOILUTFunction=function, **tags
    )
    windowed = apply_windowing(apply_modality_lut(pixels, dataset), dataset)
    low, high = -1000, 4095 * 2 - 1000
    expected = torch.from_numpy((windowed - low) / (high - low)).float()
    torch.testing.assert_close(read(data)[0], expected, atol=1e-5, rtol=1e-5)


def test_without_a_window_the_stored_bits_are_the_range():
    pixels = large(np.array([[0, 4095], [1024, 2048]], dtype=np.uint16))
    data, _ = dicom(pixels, BitsStored=12, HighBit=11, RescaleSlope=3, RescaleIntercept=-7)
    torch.testing.assert_close(read(data)[0], torch.from_numpy(pixels / 4095).float())
    signed = large(np.array([[-2048, 2047]], dtype=np.int16))
    data, _ = dicom(signed, BitsStored=12, HighBit=11)
    torch.testing.assert_close(read(data)[0], torch.from_numpy(large([[0.0, 1.0]])).float())


def test_monochrome1_is_inverted_and_needs_no_suffix():
    plain, _ = dicom(GREY)
    inverted, _ = dicom(GREY, PhotometricInterpretation="MONOCHROME1")
    torch.testing.assert_close(read_image(plain, "", "x"), 1 - read_image(inverted, ".png", "x"))


def ycbcr(pixels):
    return np.array(Image.fromarray(pixels).convert("YCbCr"))


def jpeg(adobe=None, *, jfif=True, subsampling=0):
    """Return SMOOTH as a JPEG in YCbCr, with the markers that say so or without."""
    data = BytesIO()
    Image.fromarray(SMOOTH).save(data, "JPEG", quality=97, subsampling=subsampling)
    stream = data.getvalue()
    rest = stream[2:] if jfif else stream[4 + int.from_bytes(stream[4:6], "big") :]
    marker = (
        b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([adobe])
    )
    return b"\xff\xd8" + marker + rest


def jpeg2000(*, mixed):
    data = BytesIO()
    Image.fromarray(SMOOTH).save(data, "JPEG2000", no_jp2=True, mct=int(mixed), irreversible=False)
    return data.getvalue()


def colours(kind, stream, syntax):
    return read(
        dicom(
            SMOOTH, PhotometricInterpretation=kind, PixelData=encapsulate([stream]), syntax=syntax
        )[0]
    )


def assert_smooth(found, within):
    expected = torch.from_numpy(SMOOTH / 255).float().permute(2, 0, 1)
    assert found.shape == expected.shape
    assert float((found - expected).abs().mean()) < within


def test_colours_in_any_order_and_depth_are_read():
    expected = torch.from_numpy(COLOUR / 255).float().permute(2, 0, 1)
    torch.testing.assert_close(read(dicom(COLOUR)[0]), expected)
    planes = COLOUR.transpose(2, 0, 1).tobytes()
    torch.testing.assert_close(
        read(dicom(COLOUR, PixelData=planes, PlanarConfiguration=1)[0]), expected
    )
    deep = COLOUR.astype(np.uint16) * 257 >> 4  # 12 bits
    torch.testing.assert_close(
        read(dicom(deep, BitsStored=12, HighBit=11)[0]), expected, atol=1e-3, rtol=0
    )


def test_ybr_is_converted_once():
    assert_smooth(read(dicom(ycbcr(SMOOTH), PhotometricInterpretation="YBR_FULL")[0]), 0.01)
    halved = ycbcr(np.repeat(SMOOTH[:, ::2], 2, axis=1))
    pairs = np.stack(
        [halved[:, ::2, 0], halved[:, 1::2, 0], halved[:, ::2, 1], halved[:, ::2, 2]], axis=-1
    )
    found = read(
        dicom(SMOOTH, PhotometricInterpretation="YBR_FULL_422", PixelData=pairs.tobytes())[0]
    )
    assert_smooth(found, 0.05)


@pytest.mark.parametrize("kind", ["YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("adobe", [None, 1])
@pytest.mark.parametrize("jfif", [True, False])
def test_the_markers_of_a_jpeg_do_not_convert_its_colours_twice(kind, adobe, jfif):
    assert_smooth(colours(kind, jpeg(adobe, jfif=jfif), JPEGBaseline8Bit), 0.01)


def test_a_jpeg_in_ycbcr_that_its_file_calls_rgb_is_converted():
    assert_smooth(colours("RGB", jpeg(), JPEGBaseline8Bit), 0.01)
    assert_smooth(colours("RGB", jpeg(1, jfif=False), JPEGBaseline8Bit), 0.01)


@pytest.mark.parametrize("kind", ["YBR_RCT", "YBR_ICT", "RGB", "YBR_FULL"])
def test_a_jpeg_2000_is_rgb_when_its_parts_are_unmixed(kind):
    assert_smooth(colours(kind, jpeg2000(mixed=True), JPEG2000Lossless), 1e-6)


def test_a_jpeg_2000_that_mixes_nothing_is_what_its_file_says():
    assert_smooth(colours("RGB", jpeg2000(mixed=False), JPEG2000Lossless), 1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_its_ends_to_numbers_beyond_it(bits):
    indexes = large(np.array([[0, 3, 4], [5, 6, 200]], np.uint8))
    colours = np.array(
        [[0, 0, 255], [255, 0, 0], [0, 255, 0]], np.uint8
    )  # of the numbers 4, 5 and 6
    tags = {}
    for name, column in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        entries = column if bits == 8 else column.astype(np.uint16) * 257
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [3, 4, bits]
        tags[f"{name}PaletteColorLookupTableData"] = entries.tobytes() + b"\0" * (bits == 8)
    if bits == 8:
        for name in ("Red", "Green", "Blue"):
            tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 4, bits]
    found = read(dicom(indexes, PhotometricInterpretation="PALETTE COLOR", **tags)[0])
    last = colours[2] if bits == 16 else np.zeros(3)
    expected = [*(colours[0],) * 3, colours[1], colours[2], last]
    torch.testing.assert_close(
        found[:, ::8, ::8].flatten(1).T, torch.from_numpy(np.array(expected) / 255).float()
    )


DRAW = np.random.default_rng(1)


def palette(pixels, table, *, first=0, bits=16, order="<", **tags):
    """Return a file of pixels that are numbers of the rows of the table [N, 3], and its dataset."""
    for name, column in zip(("Red", "Green", "Blue"), table.T, strict=True):
        raw = column.tobytes()
        words = np.frombuffer(raw + b"\0" * (len(raw) % 2), "<u2").astype(
            f"{order}u2"
        )  # the lower byte is the first
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [len(table), first, bits]
        tags[f"{name}PaletteColorLookupTableData"] = words.tobytes()
    return dicom(pixels, PhotometricInterpretation="PALETTE COLOR", **tags)


def assert_colours(found, colours, white):
    expected = torch.from_numpy(colours / white).float().permute(2, 0, 1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_palette_in_big_endian_has_the_same_colours(kind):
    white = np.iinfo(kind).max
    table = DRAW.integers(0, white, (256, 3), dtype=kind, endpoint=True)
    data, _ = palette(GREY, table, bits=8 * table.itemsize, order=">", syntax=ExplicitVRBigEndian)
    assert_colours(read(data), table[GREY], white)


@pytest.mark.parametrize("number", [255, 4096])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_palette_of_bytes_may_be_odd_or_stand_in_words(number, kind):
    table = DRAW.integers(0, 255, (number, 3), endpoint=True)
    pixels = np.linspace(0, number - 1, 108).astype(np.uint16).reshape(9, 12)
    assert_colours(read(palette(pixels, table.astype(kind), bits=8)[0]), table[pixels], 255)


def test_a_palette_of_words_whose_bits_are_too_few_is_of_words():
    table = DRAW.integers(0, 255, (256, 3), dtype=np.uint16, endpoint=True) * 257
    assert_colours(read(palette(GREY, table, bits=8)[0]), table[GREY], 65535)


def test_the_first_number_of_a_palette_is_signed_as_pixels():
    table = DRAW.integers(0, 65535, (256, 3), dtype=np.uint16)
    signed = large(np.array([[-128, -1], [0, 127]], np.int16))
    data, dataset = palette(signed, table, first=-128)
    assert_colours(read(data), table[signed + 128], 65535)
    colours = ("Red", "Green", "Blue")
    descriptors = {
        f"{colour}PaletteColorLookupTableDescriptor": [256, 65408, 16] for colour in colours
    }
    assert_colours(read(as_unsigned(dataset, **descriptors)), table[signed + 128], 65535)
    great = large(np.array([[65408, 65500]], np.uint16))
    assert_colours(read(palette(great, table, first=65408)[0]), table[great - 65408], 65535)


def segmented(number, bits):
    """Return a file whose palette goes from 0 to its greatest value in one segment."""
    tags, kind = {}, np.uint8 if bits == 8 else np.uint16
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [number, 0, bits]
        entries = np.array([0, 1, 0, 1, min(number - 1, 255), 2**bits - 1], kind)
        tags[f"Segmented{name}PaletteColorLookupTableData"] = entries.tobytes()
    return dicom(GREY, PhotometricInterpretation="PALETTE COLOR", **tags)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_in_segments_gives_what_pydicom_gives(bits):
    data, dataset = segmented(256, bits)
    assert_colours(read(data), apply_color_lut(GREY, dataset), 2**bits - 1)


def test_a_palette_in_segments_of_too_many_entries_is_refused():
    with pytest.raises(DataError, match="row 4: the image is of a palette of 8 bits in segments"):
        read(segmented(300, 8)[0])


@pytest.mark.parametrize("kind", ["YBR_PARTIAL_422", "YBR_PARTIAL_420", "CMYK", "QUARTERMAIN"])
def test_other_kinds_of_colour_are_refused(kind):
    with pytest.raises(DataError, match="row 4: the image ") as caught:
        read(dicom(COLOUR, PhotometricInterpretation=kind)[0])
    assert "QUARTERMAIN" not in str(caught.value)


def test_frames_and_signed_colours_are_refused():
    with pytest.raises(DataError, match="stack of several frames"):
        read(dicom(GREY.repeat(3, axis=0), NumberOfFrames=3, Rows=9)[0])
    with pytest.raises(DataError, match="stack of several frames"):
        read(dicom(COLOUR.repeat(3, axis=0), NumberOfFrames=3, Rows=9)[0])
    with pytest.raises(DataError, match="of colours of shape"):
        read(dicom(COLOUR.astype(np.int8))[0])


RAMP = np.arange(0, 4096, 65, dtype=np.uint16).reshape(8, 8)


@pytest.mark.parametrize("bits", [10, 12, 15, 16])
def test_white_is_the_greatest_entry_of_a_voi_lut(bits):
    curve = (np.linspace(0, 1, 4096) ** 2 * (2**bits - 1)).astype(np.uint16)
    data, dataset = dicom(RAMP, BitsStored=12, HighBit=11, VOILUTSequence=table(curve))
    expected = apply_voi_lut(RAMP, dataset) / curve.max()
    torch.testing.assert_close(read(data)[0], torch.from_numpy(expected).float())


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_table_of_bytes_may_be_longer_or_stand_in_words(kind):
    inverted = np.linspace(255, 0, 4096).astype(np.uint8)
    found = grey(RAMP, BitsStored=12, HighBit=11, VOILUTSequence=table(inverted, bits=8, kind=kind))
    torch.testing.assert_close(found, torch.from_numpy(inverted[RAMP] / 255).float())


def test_a_table_of_negative_values_begins_where_it_says():
    hounsfield = large(np.array([[-1024, -500], [0, 1000]], np.int16))
    curve = np.arange(2048, dtype=np.uint16)
    found = grey(
        hounsfield + 1024,
        RescaleIntercept=-1024,
        VOILUTSequence=table(curve, first=2**16 - 1024, bits=11),
    )
    torch.testing.assert_close(found, torch.from_numpy((hounsfield + 1024) / 2047).float())


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_is_signed_as_its_values_are(name):
    curve = np.arange(3000, dtype=np.uint16)
    values = large([[0, 500], [1000, 1999]])
    found = grey(values.astype(np.int16), **{name: table(curve, first=2**16 - 1000, bits=12)})
    torch.testing.assert_close(found, torch.from_numpy((values + 1000) / 2999).float())
    found = grey((values + 40_000).astype(np.uint16), **{name: table(curve, first=40_000, bits=12)})
    torch.testing.assert_close(found, torch.from_numpy(values / 2999).float())


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_table_in_big_endian_is_the_same(kind):
    inverted = np.arange(255, -1, -1).astype(kind)
    sequence = table(inverted, bits=8, kind=kind)
    sequence[0].LUTData = np.frombuffer(inverted.tobytes(), "<u2").astype(">u2").tobytes()
    found = grey(GREY, VOILUTSequence=sequence, syntax=ExplicitVRBigEndian)
    torch.testing.assert_close(found, torch.from_numpy(1 - GREY / 255).float())


def test_a_modality_lut_comes_before_the_window_and_stands_alone():
    curve = np.arange(256, dtype=np.uint16)[::-1] * 16  # 12 bits, inverted
    tags = {"ModalityLUTSequence": table(curve, bits=12)}
    torch.testing.assert_close(grey(GREY, **tags), torch.from_numpy(1 - GREY / 255).float())
    windowed = grey(
        GREY, **tags, WindowCenter=2040, WindowWidth=2040, VOILUTFunction="LINEAR_EXACT"
    )
    expected = ((curve[GREY] - 2040.0) / 2040 + 0.5).clip(0, 1)
    torch.testing.assert_close(windowed, torch.from_numpy(expected).float())


def test_an_inverted_slope_inverts():
    torch.testing.assert_close(grey(GREY, RescaleSlope=-2, RescaleIntercept=7), 1 - grey(GREY))
    windowed = grey(GREY, RescaleSlope=-1, RescaleIntercept=255, WindowCenter=128, WindowWidth=256)
    torch.testing.assert_close(windowed, 1 - grey(GREY))
    with pytest.raises(DataError, match="slope of 0"):
        grey(GREY, RescaleSlope=0)


NARROW = np.arange(1000, 1064, dtype=np.uint16).reshape(8, 8)


@pytest.mark.parametrize("slope", ["1", "50", "0.002", "0.0003", "0.00001"])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_an_image_is_deep_by_its_bits_whatever_its_slope(slope, kind):
    expected = torch.from_numpy((NARROW - 1000) / 63).float()
    found = grey(NARROW.astype(kind), RescaleSlope=slope, RescaleIntercept="-3")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("slope", [1, 2, 100])
def test_an_image_of_bytes_keeps_its_range_whatever_its_slope(slope):
    dark = GREY // 8
    torch.testing.assert_close(grey(dark, RescaleSlope=slope), torch.from_numpy(dark / 255).float())


@pytest.mark.parametrize("stored", [0, 9, 17])
def test_a_number_of_stored_bits_that_cannot_be_is_refused(stored):
    with pytest.raises(
        DataError,
        match=r"^images\.parquet row 4: the image is of a number of stored bits that cannot be",
    ):
        grey(GREY, BitsStored=stored)


def test_a_slope_beyond_floating_point_is_refused():
    with pytest.raises(
        DataError, match=r"^images\.parquet row 4: the image is of values that are not finite; save"
    ):
        grey(RAMP, RescaleSlope="1e308")


def padded(kind, *values):
    """Return NARROW with its first rows full of padding."""
    pixels = NARROW.astype(kind)
    for row, value in enumerate(values):
        pixels[row] = value
    return pixels


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (padded(np.uint16, 65535), {"PixelPaddingValue": 65535}),
        (padded(np.uint16, 0), {"PixelPaddingValue": 0}),
        (padded(np.int16, -32768), {"PixelPaddingValue": -32768}),
        (
            padded(np.uint16, 60000, 62000, 65535),
            {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 60000},
        ),
        (
            padded(np.int16, -2000, -1500, 0),
            {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": 0},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("slope", [1, 0.002, -3])
def test_padding_is_black_and_no_part_of_the_range(pixels, tags, kind, slope):
    content = (pixels >= 1000) & (pixels < 1064)
    least, most = int(pixels[content].min()), int(pixels[content].max())
    shown = (pixels.astype(float) - least) / (most - least)
    upside_down = (slope < 0) != (kind == "MONOCHROME1")
    expected = np.where(content, 1 - shown if upside_down else shown, 0)
    found = grey(pixels, PhotometricInterpretation=kind, RescaleSlope=slope, **tags)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), atol=1e-4, rtol=0)


def test_padding_written_with_the_other_sign_is_padding():
    signed = padded(np.int16, -2000)
    written, dataset = dicom(signed, PixelPaddingValue=-2000)
    torch.testing.assert_close(
        read(as_unsigned(dataset, PixelPaddingValue=2**16 - 2000)), read(written)
    )
    assert float(read(written)[0, 1:].amax()) == 1


def test_padding_is_black_beside_a_window():
    window = {"WindowCenter": 1030, "WindowWidth": 60}
    found = grey(padded(np.uint16, 65535), **window, PixelPaddingValue=65535)
    torch.testing.assert_close(found[1:], grey(NARROW, **window)[1:])
    assert float(found[0].amax()) == 0
    assert float(grey(np.full((8, 8), 7, np.uint16), PixelPaddingValue=7).amax()) == 0


def test_bits_beyond_those_stored_do_not_count():
    stored = {"BitsStored": 12, "HighBit": 11}
    overlaid = RAMP | np.uint16(0b1010 << 12)
    torch.testing.assert_close(grey(overlaid, **stored), grey(RAMP, **stored))
    torch.testing.assert_close(grey(RAMP << 4, BitsStored=12, HighBit=15), grey(RAMP, **stored))
    signed = RAMP.astype(np.int16) - 2048
    unfilled = (signed & 0x0FFF).astype(np.int16)  # the sign is bit 11
    torch.testing.assert_close(grey(unfilled, **stored), grey(signed, **stored))


@pytest.mark.parametrize(
    "empty",
    [
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 2048},
        {"WindowWidth": 4096},
        {"WindowCenter": 0, "WindowWidth": 0},
        {"WindowCenter": ["", ""], "WindowWidth": ["", ""]},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": 1},
        {"RescaleIntercept": 0},
        {"VOILUTSequence": []},
        {"VOILUTSequence": [Dataset()]},
        {"ModalityLUTSequence": []},
        {"VOILUTFunction": ""},
        {"VOILUTFunction": None, "WindowCenter": 2048, "WindowWidth": 4096},
        {"SharedFunctionalGroupsSequence": [], "PerFrameFunctionalGroupsSequence": [Dataset()]},
        {"NumberOfFrames": None},
    ],
)
def test_a_tag_without_a_value_says_as_much_as_no_tag(empty):
    stored = {"BitsStored": 12, "HighBit": 11}
    torch.testing.assert_close(
        grey(RAMP, **stored, **empty), grey(RAMP, **stored), atol=1e-6, rtol=0
    )


def test_of_several_windows_the_first_whole_one_shows_the_image():
    first = grey(RAMP, WindowCenter=1000, WindowWidth=500)
    torch.testing.assert_close(grey(RAMP, WindowCenter=[1000, 7], WindowWidth=[500, 9]), first)
    torch.testing.assert_close(grey(RAMP, WindowCenter=["", 1000], WindowWidth=[9, 500]), first)
    torch.testing.assert_close(grey(RAMP, WindowCenter=[1000, 7], WindowWidth=500), first)


def test_an_enhanced_file_of_one_frame_keeps_its_window():
    rescale, window, shared, frame = Dataset(), Dataset(), Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -1000
    window.WindowCenter, window.WindowWidth = 500, 2000
    shared.PixelValueTransformationSequence, frame.FrameVOILUTSequence = [rescale], [window]
    groups = {
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": [frame],
    }
    plain = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 500, "WindowWidth": 2000}
    torch.testing.assert_close(grey(RAMP, **groups, NumberOfFrames=1), grey(RAMP, **plain))


def test_floating_point_pixels_need_a_window():
    values = np.linspace(-3, 5, 108, dtype=np.float32).reshape(9, 12)
    _, dataset = dicom(values.view(np.uint32), WindowCenter=1, WindowWidth=0.5)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.FloatPixelData = values.tobytes()
    file = BytesIO()
    dataset.save_as(file)
    expected = ((values - 1) / 0.5 + 0.5).clip(0, 1)
    torch.testing.assert_close(read(file.getvalue())[0], torch.from_numpy(expected))
    del dataset.WindowCenter
    bare = BytesIO()
    dataset.save_as(bare)
    with pytest.raises(DataError, match="without a window, whose range is unknown"):
        read(bare.getvalue())


def test_a_file_without_a_header_is_read():
    data, _ = dicom(GREY)
    torch.testing.assert_close(read(_without_header(data)), read(data))


def _without_header(data):
    dataset = dcmread(BytesIO(data))
    bare = BytesIO()
    dataset.preamble = None
    del dataset.file_meta
    dataset.save_as(bare, implicit_vr=True, little_endian=True)
    return bare.getvalue()


def test_what_pydicom_ships_is_shown_or_refused_in_one_line():
    shown = [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "examples_palette.dcm",
        "examples_jpeg2k.dcm",
        "rtdose_1frame.dcm",
    ]
    refused = [
        "MR_truncated.dcm",
        "rtdose.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
        "badVR.dcm",
        "examples_ybr_color.dcm",
    ]
    for name in shown:
        found = read(_shipped(name))
        assert found.amin() < 0.25, name
        assert found.amax() > 0.95, name
    for name in refused:
        with pytest.raises(DataError, match=r"^images\.parquet row 4: the image [^\n]*$"):
            read(_shipped(name))


def _shipped(name):
    return Path(get_testdata_file(name, download=False)).read_bytes()


def test_a_compression_that_nothing_here_reads_names_what_may():
    data = dicom(GREY, PixelData=encapsulate([b"none"]), syntax=JPEGLSLossless)[0]
    with pytest.raises(DataError, match="broken, or compressed as no decoder here reads it"):
        read(data)


def test_more_pixels_than_memory_holds_are_refused_unread():
    with pytest.raises(DataError, match="larger than"):
        read(dicom(GREY, Rows=60_000, Columns=60_000)[0])
