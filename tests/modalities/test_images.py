import os
from contextlib import suppress
from io import BytesIO
from zlib import compress, crc32

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clintune.core.errors import DataError
from clintune.modalities.images.files import FORMATS, read_bytes, read_image

GREY = np.linspace(0, 255, 108, dtype=np.uint8).reshape(9, 12)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def large(values):
    """Return an array each of whose values fills 8 by 8 pixels."""
    return np.asarray(values).repeat(8, axis=0).repeat(8, axis=1)


def encode(image, **options):
    data = BytesIO()
    image.save(data, **{"format": "PNG", **options})
    return data.getvalue()


def read(data, suffix=".png"):
    return read_image(data, suffix, "images.parquet row 4")


def array(values):
    data = BytesIO()
    np.save(data, values)
    return data.getvalue()


def test_grey_images_fill_three_channels_and_colours_keep_theirs():
    grey, colour = read(encode(Image.fromarray(GREY))), read(encode(Image.fromarray(COLOUR)))
    torch.testing.assert_close(grey, torch.from_numpy(GREY / 255).float().expand(3, -1, -1))
    torch.testing.assert_close(colour, torch.from_numpy(COLOUR / 255).float().permute(2, 0, 1))


def test_sixteen_bits_are_scaled_by_their_range():
    deep = GREY.astype(np.uint16) * 257
    torch.testing.assert_close(
        read(encode(Image.fromarray(deep))), read(encode(Image.fromarray(GREY)))
    )
    data = BytesIO()
    np.save(data, deep)
    torch.testing.assert_close(read(data.getvalue(), ".npy"), read(encode(Image.fromarray(GREY))))


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "LA", "CMYK"])
def test_other_modes_of_png_and_jpeg_are_read(mode):
    image = Image.fromarray(COLOUR).convert(mode)
    data = encode(image, format="JPEG", quality=95) if mode == "CMYK" else encode(image)
    found = read(data)
    assert found.shape == (3, 9, 12)
    assert found.min() >= 0
    assert 0.5 < found.max() <= 1


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    found = read(encode(Image.fromarray(GREY), exif=exif))
    torch.testing.assert_close(found[0], torch.from_numpy(np.rot90(GREY, -1) / 255).float())


@pytest.mark.parametrize(
    ("data", "suffix", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", ".png", "text and no image"),
        (b"<html>", ".dcm", "text and no image"),
        (b"gar\0bage", ".jpg", "is of none of the formats that are read"),
        (b"gar\0bage", ".dcm", "no DICOM file"),
        (b"gar\0bage", ".npy", "no array of plain numbers"),
        (
            encode(Image.fromarray(GREY), format="ICO"),
            ".ico",
            "is of none of the formats that are read",
        ),
        *(
            (
                encode(Image.fromarray(large(COLOUR)), format=kind)[:-40],
                ".img",
                "is damaged, or ends early",
            )
            for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
        ),
        (encode(Image.fromarray(GREY))[:20], ".png", "is damaged, or ends early"),
        (array(GREY)[:-9], ".npy", "ends early"),
        (encode(Image.fromarray(GREY.astype(np.int32)), format="TIFF"), ".tif", "32 bit values"),
        (encode(Image.fromarray(GREY.astype(np.float32)), format="TIFF"), ".tif", "32 bit values"),
        (
            encode(
                Image.fromarray(COLOUR),
                format="GIF",
                save_all=True,
                append_images=[Image.new("L", (12, 9))],
            ),
            ".gif",
            "stack",
        ),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused_by_its_row(data, suffix, said):
    with pytest.raises(DataError, match=rf"images\.parquet row 4: .*{said}.*PNG"):
        read(data, suffix)


@pytest.mark.parametrize(
    "array", [GREY.astype(np.float32), GREY.astype(np.int64), np.zeros((2, 3, 4, 3), np.uint8)]
)
def test_arrays_of_unknown_range_or_shape_are_refused(array):
    data = BytesIO()
    np.save(data, array)
    with pytest.raises(DataError, match="row 4: the image is of"):
        read(data.getvalue(), ".npy")


def test_an_array_in_big_endian_is_the_same_image():
    deep = GREY.astype(np.uint16) * 257
    torch.testing.assert_close(read(array(deep.astype(">u2")), ".npy"), read(array(deep), ".npy"))


def test_the_names_of_the_fields_of_an_array_are_not_told():
    with pytest.raises(DataError, match="row 4: the image is of type void8, whose") as caught:
        read(array(np.zeros((9, 9), [("Smith", np.uint8)])), ".npy")
    assert "Smith" not in str(caught.value)


DEEP = (COLOUR.astype(np.uint16) << 8) + 99
"""Colours of 16 bits."""


def png(pixels):
    """Return words [H, W, C] as a PNG of 16 bits: grey with alpha, RGB or RGBA."""

    def chunk(kind, content):
        return (
            len(content).to_bytes(4, "big")
            + kind
            + content
            + crc32(kind + content).to_bytes(4, "big")
        )

    height, width, channels = pixels.shape
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = chunk(b"IHDR", size + bytes([16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0]))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels, **options):
    data = BytesIO()
    tifffile.imwrite(data, pixels, **options)
    return data.getvalue()


def ppm(pixels, most=65535):
    height, width = pixels.shape[:2]
    kind = "P5" if pixels.ndim == 2 else "P6"
    return f"{kind}\n{width} {height}\n{most}\n".encode() + pixels.astype(">u2").tobytes()


def contiguous(pixels):
    return tiff(pixels, photometric="rgb")


@pytest.mark.parametrize("write", [png, contiguous, ppm])
def test_deep_channels_are_read_where_they_fill_their_range(write):
    expected = torch.from_numpy(DEEP / 65535).float().permute(2, 0, 1)
    torch.testing.assert_close(read(write(DEEP)), expected, atol=1 / 255, rtol=0)


def jpeg2000(channels):
    """Return a JPEG 2000 whose header says that its components have 12 bits."""
    data = encode(
        Image.fromarray(np.repeat(GREY[..., None], channels, axis=-1)),
        format="JPEG2000",
        no_jp2=True,
    )
    place = data.index(b"\xff\x51") + 40
    return data[:place] + b"\x0b\x01\x01" * channels + data[place + 3 * channels :]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(DEEP >> 4), "fill less than a quarter"),
        (png(np.full((9, 12, 3), 4095, np.uint16)), "fill less than a quarter"),
        (png((DEEP >> 4)[..., :2]), "fill less than a quarter"),
        (contiguous(DEEP >> 4), "fill less than a quarter"),
        (ppm(DEEP >> 4), "fill less than a quarter"),
        (
            tiff(DEEP.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
            "in planes",
        ),
        (jpeg2000(2), "as JPEG 2000"),
        (jpeg2000(3), "as JPEG 2000"),
    ],
)
def test_deep_channels_that_would_look_wrong_are_refused(data, said):
    with pytest.raises(
        DataError,
        match=rf"row 4: the image is of several channels of more than 8 bits.*{said}.*; save",
    ):
        read(data)


def test_planes_of_bytes_are_read():
    planes = tiff(COLOUR.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
    torch.testing.assert_close(read(planes), read(encode(Image.fromarray(COLOUR))))


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint32, np.float32])
def test_a_tiff_of_signed_or_wide_values_is_refused(kind):
    with pytest.raises(
        DataError, match="row 4: the image is of signed, floating point or 32 bit values"
    ):
        read(tiff(GREY.astype(kind)))


@pytest.mark.parametrize("most", [1000, 4095, 65535])
def test_a_grey_ppm_is_scaled_by_its_greatest_value(most):
    values = GREY.astype(np.int64) * most // 255
    expected = torch.from_numpy(values / most).float().expand(3, -1, -1)
    torch.testing.assert_close(read(ppm(values, most)), expected, atol=1e-5, rtol=0)
    plain = f"P2\n12 9\n{most}\n{' '.join(map(str, values.ravel()))}\n".encode()
    torch.testing.assert_close(read(plain), expected, atol=1e-5, rtol=0)


def test_pickled_arrays_are_refused():
    data = BytesIO()
    np.save(data, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no array of plain numbers"):
        read(data.getvalue(), ".npy")


@pytest.mark.parametrize("kind", [*FORMATS, "npy"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (40, 7)])
def test_an_image_of_a_few_pixels_is_refused_in_any_format(kind, shape):
    small, enough = np.zeros(shape, np.uint8), np.zeros((8, 8), np.uint8)
    data, fits = (
        array(p) if kind == "npy" else encode(Image.fromarray(p), format=kind)
        for p in (small, enough)
    )
    suffix = ".npy" if kind == "npy" else ".img"
    with pytest.raises(
        DataError, match=rf"row 4: the image is only {shape[1]} by {shape[0]} pixels; save it"
    ):
        read(data, suffix)
    assert read(fits, suffix).shape == (3, 8, 8)


def test_an_empty_file_is_said_to_be_empty():
    with pytest.raises(
        DataError, match=r"row 4: the media file is empty; restore it or drop the row$"
    ):
        read(b"")


def test_nothing_that_stands_in_a_text_is_told():
    with pytest.raises(DataError) as caught:
        read(b"Smith, born 1950", ".jpg")
    assert "Smith" not in str(caught.value)


def test_a_missing_file_is_named_by_its_row_alone(tmp_path):
    with pytest.raises(DataError, match=r"^t row 1: the media file is missing") as caught:
        read_bytes(tmp_path / "secret.png", "t row 1")
    assert "secret" not in str(caught.value)


def test_a_photo_with_a_preview_behind_it_is_its_first_picture():
    photo, preview = Image.fromarray(COLOUR).resize((64, 48)), Image.new("RGB", (8, 6))
    phone = encode(photo, format="MPO", save_all=True, append_images=[preview], quality=95)
    torch.testing.assert_close(
        read(phone, ".jpg"), read(encode(photo, format="JPEG", quality=95), ".jpg")
    )


def test_a_scan_with_smaller_copies_is_read_pages_are_refused():
    def pages(kind):
        second = Image.new("L", (8, 8))
        second.encoderinfo = {"tiffinfo": {254: kind}}
        return encode(Image.fromarray(GREY), format="TIFF", save_all=True, append_images=[second])

    torch.testing.assert_close(read(pages(1)), read(encode(Image.fromarray(GREY))))
    with pytest.raises(DataError, match="stack of several frames"):
        read(pages(2))


def test_a_sixteen_bit_tiff_with_white_as_zero_is_inverted():
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    black, white = (read(encode(deep, format="TIFF", tiffinfo={262: kind})) for kind in (1, 0))
    torch.testing.assert_close(white, 1 - black)


def test_a_deep_image_is_shown_from_its_lowest_to_its_highest():
    values = large(np.array([[100, 2048], [3000, 4095]], np.uint16))
    expected = torch.from_numpy((values - 100) / (4095 - 100)).float()
    torch.testing.assert_close(read(encode(Image.fromarray(values)))[0], expected)
    torch.testing.assert_close(read(array(values), ".npy")[0], expected)


def test_a_deep_image_of_one_value_keeps_it():
    torch.testing.assert_close(
        read(array(np.full((8, 8), 13107, np.uint16)), ".npy"), torch.full((3, 8, 8), 0.2)
    )


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0, 3), (1, 20_000)])
def test_an_image_without_a_pixel_or_too_long_is_refused(shape):
    with pytest.raises(DataError, match=r"^images\.parquet row 4: the image is of shape"):
        read(array(np.zeros(shape, np.uint8)), ".npy")


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = bytearray(encode(Image.fromarray(GREY)))
    bomb[16:24] = 2 * (30_000).to_bytes(4, "big")
    bomb[29:33] = crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"row 4: the image has more than [0-9,]+ pixels; save"):
        read(bytes(bomb))


def test_what_is_no_file_is_missing(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    said = {
        tmp_path: "the media file is a folder",
        tmp_path / "pipe.png": "the media file is a pipe",
        None: "the row names",
    }
    for path, why in said.items():
        with pytest.raises(DataError, match=f"^t row 1: {why}"):
            read_bytes(path, "t row 1")


@given(
    cut=st.integers(0, 400),
    place=st.integers(0, 400),
    byte=st.integers(0, 255),
    kind=st.sampled_from(FORMATS),
)
@settings(max_examples=60, deadline=None)
def test_a_broken_file_is_read_or_refused_by_its_row(cut, place, byte, kind):
    data = bytearray(encode(Image.fromarray(COLOUR), format=kind))
    data[place % len(data)] = byte
    for suffix in (".png", ".dcm", ".npy"):
        with suppress(DataError):
            assert read(bytes(data[: max(1, len(data) - cut)]), suffix).isfinite().all()
