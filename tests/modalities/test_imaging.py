from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from clintune.contracts import Item
from clintune.core.errors import ConfigError, DataError
from clintune.modalities import base
from clintune.modalities.imaging import Imaging
from clintune.modalities.note_readers import TokenReader

CNN = {
    "source": "random",
    "config": {"architecture": "cnn", "widths": [8]},
    "size": 32,
    "mode": "full",
}


def build(**settings):
    imaging = Imaging(**{**CNN, **settings})
    imaging.build({})
    return imaging.eval()


@pytest.fixture
def item(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return Item(hours=2.5, code="XRAY", where="images.parquet row 3", path=tmp_path / "image.png")


def pixels(imaging, item, view=0):
    return imaging.reader.preprocess(item, view).tensors["pixels"]


def save(path, array):
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("source", ["bundled:efficientnet_lite0", "random"])
def test_two_images_have_two_embeddings_even_in_another_range(tmp_path, source):
    imaging = build() if source == "random" else Imaging(source=source)
    imaging.build({})
    deep = np.random.default_rng(1).integers(0, 4096, (2, 40, 40)).astype(np.uint16)
    items = [
        Item(hours=0, code="", where="", path=save(tmp_path / f"{number}.png", array))
        for number, array in enumerate(deep)
    ]
    with torch.no_grad():
        first, second = (
            imaging.eval().encode(imaging.reader.preprocess(each).tensors) for each in items
        )
    assert (first - second).abs().max() > 1e-3


def test_padding_squashing_and_cropping_make_a_square(tmp_path):
    wide = np.zeros((20, 40), np.uint8)
    wide[:, 10:30] = 255
    item = Item(hours=0, code="", where="", path=save(tmp_path / "wide.png", wide))
    white = {
        fit: pixels(build(fit=fit, size=40), item)[0, 0] > 0 for fit in ("pad", "squash", "crop")
    }
    middle = torch.zeros(40, 40, dtype=torch.bool)
    middle[:, 10:30] = True
    assert torch.equal(white["squash"], middle)
    assert white["crop"].all()
    middle[:10] = middle[30:] = False
    assert torch.equal(white["pad"], middle)


def test_pixels_are_normalised_as_the_encoder_says(tmp_path):
    item = Item(
        hours=0, code="", where="", path=save(tmp_path / "grey.png", np.full((8, 8), 51, np.uint8))
    )
    torch.testing.assert_close(pixels(build(), item), torch.full((1, 3, 32, 32), (0.2 - 0.5) / 0.5))
    resnet = build(config={"architecture": "test_resnet"}, size=None)
    own = resnet.reader.preprocessing
    expected = torch.tensor(
        [(0.2 - mean) / std for mean, std in zip(own.mean, own.std, strict=True)]
    )
    torch.testing.assert_close(pixels(resnet, item)[0, :, 5, 5], expected)
    assert resnet.reader.encoder_needs() == asdict(own)


def test_views_are_fixed_and_follow_the_content(item, tmp_path):
    imaging = build(views=4)
    views = [pixels(imaging, item, view) for view in range(4)]
    for view in range(4):
        assert torch.equal(views[view], pixels(build(views=4), item, view))
        assert all(not torch.allclose(views[view], other) for other in views[view + 1 :])
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(item.path.read_bytes())
    assert torch.equal(
        pixels(imaging, replace(item, path=moved, where="other", hours=9.0), 2), views[2]
    )
    assert torch.equal(pixels(build(), item), views[0])


def test_a_view_is_a_small_change_mirrored_on_request_only(tmp_path):
    gradient = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (64, 1))
    item = Item(hours=0, code="", where="", path=save(tmp_path / "gradient.png", gradient))

    def rises(imaging, view):
        image = pixels(imaging, item, view)[0, 0, 10:22, 6:26]
        return bool(image[:, -1].mean() > image[:, 0].mean())

    assert all(rises(build(), view) for view in range(1, 12))
    mirrored = [not rises(build(flip=True), view) for view in range(1, 12)]
    assert 2 <= sum(mirrored) <= 9


def test_regions_stand_row_by_row_beside_the_pooled_token(item):
    imaging = build(regions=2)
    with torch.no_grad():
        tokens = imaging.encode(imaging.reader.preprocess(item).tensors)
        pooled, regions = imaging.encoder(pixels(imaging, item))
    assert tokens.shape == (1, 5, 8)
    assert imaging.tokens_per_piece == 5
    torch.testing.assert_close(tokens[:, 0], pooled)
    torch.testing.assert_close(tokens[0, 2], regions[0, :, :16, 16:].mean((1, 2)))
    torch.testing.assert_close(tokens[0, 1:].mean(0), pooled[0])


def test_regions_of_another_width_are_refused():
    with pytest.raises(ConfigError, match="set regions to 0"):
        build(config={"architecture": "mobilenetv3_small_050"}, regions=2)


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_batch_norms_keep_their_statistics_while_training(item, mode):
    imaging = build(config={"architecture": "test_resnet"}, size=32, mode=mode).train()
    before = {name: value.clone() for name, value in imaging.state_dict().items()}
    imaging.encode({"pixels": torch.randn(4, 3, 32, 32)})
    for name, value in imaging.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert any(parameter.requires_grad for parameter in imaging.parameters()) == (mode == "full")


def test_an_image_that_is_not_there_is_named_by_its_row(item):
    with pytest.raises(DataError, match=r"^images\.parquet row 3: "):
        build().reader.preprocess(replace(item, path=item.path.with_name("none.png")))


def test_a_frozen_encoder_of_another_size_is_another_one():
    small, large = (Imaging(source="bundled:efficientnet_lite0", size=size) for size in (64, 96))
    for imaging in (small, large):
        imaging.build({})
    assert (small.reader.preprocessing.size, large.reader.preprocessing.size) == (64, 96)


def test_an_encoder_moved_to_another_device_is_tried_there():
    used = Imaging(source="bundled:efficientnet_lite0")
    used.build({})
    devices = []
    used.encoder.to("meta").register_forward_pre_hook(
        lambda _, given: devices.append(given[0].device.type)
    )
    try:
        again = Imaging(source="bundled:efficientnet_lite0")
        again.build({})
    finally:
        base._load_once.cache_clear()
    assert devices == ["meta"]
    assert again.width == used.width == 1280


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", [(8, 8), (9, 40), (60, 40), (41, 40), (300, 40), (300, 299)])
def test_an_image_of_nearly_one_shade_is_blank(tmp_path, fit, size, shape):
    def is_blank(array):
        item = Item(hours=0, code="", where="", path=save(tmp_path / "image.png", array))
        return imaging.reader.is_blank(imaging.reader.preprocess(item))

    imaging = build(fit=fit, size=size)
    grey, noise = (
        np.full(shape, 90, np.uint8),
        np.random.default_rng(0).integers(0, 2, shape, np.uint8),
    )
    assert is_blank(grey)
    assert is_blank(grey + noise)
    assert is_blank(np.zeros(shape, np.uint8))
    assert is_blank(np.full((*shape, 3), (200, 10, 40), np.uint8))

    ramp = np.linspace(0, 30, shape[1]).astype(np.uint8)
    for picture in (grey + 60 * noise, grey + ramp, np.broadcast_to(ramp, shape)):
        assert not is_blank(np.ascontiguousarray(picture))


def test_items_are_not_blank_to_a_reader_without_a_say(item):
    pieces = build().reader.preprocess(item)
    assert not TokenReader(max_pieces=1).is_blank(pieces)
    assert not build().reader.is_blank(pieces)
