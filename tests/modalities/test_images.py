from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from clintune.core.errors import DataError
from clintune.modalities.images import read_bytes, read_image

GREY = np.linspace(0, 255, 12, dtype=np.uint8).reshape(3, 4)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def encode(image, **options):
    data = BytesIO()
    image.save(data, **{"format": "PNG", **options})
    return data.getvalue()


def read(data, suffix=".png"):
    return read_image(data, suffix, "images.parquet row 4")


def dicom(pixels, **tags):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
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
    data = BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue(), dataset


def test_grey_images_fill_three_channels_and_colours_keep_theirs():
    grey, colour = read(encode(Image.fromarray(GREY))), read(encode(Image.fromarray(COLOUR)))
    torch.testing.assert_close(grey, torch.from_numpy(GREY / 255).float().expand(3, -1, -1))
    torch.testing.assert_close(colour, torch.from_numpy(COLOUR / 255).float().permute(2, 0, 1))


def test_sixteen_bits_are_scaled_by_their_range():
    deep = GREY.astype(np.uint16) * 257
    torch.testing.assert_close(read(encode(Image.fromarray(deep))), read(encode(Image.fromarray(GREY))))
    data = BytesIO()
    np.save(data, deep)
    torch.testing.assert_close(read(data.getvalue(), ".npy"), read(encode(Image.fromarray(GREY))))


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "LA", "CMYK"])
def test_other_modes_of_png_and_jpeg_are_read(mode):
    image = Image.fromarray(COLOUR).convert(mode)
    data = encode(image, format="JPEG", quality=95) if mode == "CMYK" else encode(image)
    found = read(data)
    assert found.shape == (3, 3, 4)
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
        (b"", ".png", "cannot be read"),
        (b"garbage", ".jpg", "cannot be read"),
        (b"garbage", ".dcm", "cannot be read"),
        (encode(Image.fromarray(GREY.astype(np.int32)), format="TIFF"), ".tif", "32 bit values"),
        (encode(Image.fromarray(GREY.astype(np.float32)), format="TIFF"), ".tif", "32 bit values"),
        (
            encode(Image.fromarray(COLOUR), format="GIF", save_all=True, append_images=[Image.new("L", (4, 3))]),
            ".gif",
            "stack",
        ),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused_by_its_row(data, suffix, said):
    with pytest.raises(DataError, match=rf"images\.parquet row 4: .*{said}.*PNG"):
        read(data, suffix)


@pytest.mark.parametrize("array", [GREY.astype(np.float32), GREY.astype(np.int64), np.zeros((2, 3, 4, 3), np.uint8)])
def test_arrays_of_unknown_range_or_shape_are_refused(array):
    data = BytesIO()
    np.save(data, array)
    with pytest.raises(DataError, match="row 4: the image is of"):
        read(data.getvalue(), ".npy")


def test_pickled_arrays_are_refused():
    data = BytesIO()
    np.save(data, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read(data.getvalue(), ".npy")


def test_a_missing_file_is_named_by_its_row_alone(tmp_path):
    with pytest.raises(DataError, match=r"^t row 1: the media file is missing") as caught:
        read_bytes(tmp_path / "secret.png", "t row 1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_dicom_window_gives_what_pydicom_gives(function):
    pixels = np.arange(0, 2400, 100, dtype=np.int16).reshape(4, 6)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [400, 1], "WindowWidth": [1500, 2]}
    data, dataset = dicom(pixels, BitsStored=12, HighBit=11, PixelRepresentation=0, VOILUTFunction=function, **tags)
    windowed = apply_windowing(apply_modality_lut(pixels, dataset), dataset)
    low, high = -1000, 4095 * 2 - 1000
    expected = torch.from_numpy((windowed - low) / (high - low)).float()
    torch.testing.assert_close(read(data, ".dcm")[0], expected, atol=1e-5, rtol=1e-5)


def test_without_a_window_the_stored_bits_are_the_range():
    pixels = np.array([[0, 4095], [1024, 2048]], dtype=np.uint16)
    data, _ = dicom(pixels, BitsStored=12, HighBit=11, RescaleSlope=3, RescaleIntercept=-7)
    torch.testing.assert_close(read(data, ".dcm")[0], torch.from_numpy(pixels / 4095).float())
    signed = np.array([[-2048, 2047]], dtype=np.int16)
    data, _ = dicom(signed, BitsStored=12, HighBit=11)
    torch.testing.assert_close(read(data, ".dcm")[0], torch.tensor([[0.0, 1.0]]))


def test_monochrome1_is_inverted_and_a_dicom_is_known_without_its_suffix():
    plain, _ = dicom(GREY)
    inverted, _ = dicom(GREY, PhotometricInterpretation="MONOCHROME1")
    torch.testing.assert_close(read(plain, ""), 1 - read(inverted, ".png"))


def test_colour_dicom_is_read_and_frames_and_palettes_are_refused():
    torch.testing.assert_close(read(dicom(COLOUR)[0]), read(encode(Image.fromarray(COLOUR))))
    stack, _ = dicom(GREY, NumberOfFrames=3, Rows=1)
    with pytest.raises(DataError, match="stack of several frames"):
        read(stack)
    with pytest.raises(DataError, match="photometric interpretation PALETTE COLOR"):
        read(dicom(GREY, PhotometricInterpretation="PALETTE COLOR")[0])
