import pytest
import timm
import torch
from PIL import Image
from skimage import data
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    CLIPImageProcessor,
    ViTImageProcessor,
)

from clintune.contracts import Item
from clintune.core.errors import ConfigError, WeightsError
from clintune.modalities.image_encoders import (
    ImageEncoder,
    Preprocessing,
    TimmEncoder,
    fold_norms,
    load_efficientnet_lite0,
    make_image_encoder,
)
from clintune.modalities.imaging import Imaging
from clintune.weights import resolve

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
FLAT = {**TINY, "image_size": 32, "patch_size": 8}
FAMILIES = {
    "vit": FLAT,
    "dinov2": FLAT,
    "dinov2_with_registers": {**FLAT, "num_register_tokens": 4},
    "siglip_vision_model": FLAT,
    "clip_vision_model": FLAT,
    "beit": FLAT,
    "swin": {
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "image_size": 32,
        "window_size": 4,
    },
    "convnext": {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "image_size": 32},
    "resnet": {
        "embedding_size": 16,
        "hidden_sizes": [16, 32],
        "depths": [1, 1],
        "layer_type": "basic",
        "image_size": 32,
    },
}
TIMM = {
    "resnet18": {},
    "test_vit": {"patch_size": 8},
    "test_convnext": {},
    "test_efficientnet": {},
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 24,
        "depths": (1, 1),
        "num_heads": (1, 1),
        "window_size": 4,
    },
    "vit_small_patch14_reg4_dinov2": {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2},
}


def images(side, n=2):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def run(encoder, pixels):
    with torch.no_grad():
        return encoder.eval()(pixels)


@pytest.mark.parametrize(("photo", "classes"), [("chelsea", range(281, 286)), ("coffee", [967])])
def test_the_bundled_network_knows_a_cat_and_an_espresso(tmp_path, photo, classes):
    Image.fromarray(getattr(data, photo)()).save(tmp_path / "photo.png")
    imaging = Imaging(source="bundled:efficientnet_lite0")
    imaging.build({})
    whole = load_efficientnet_lite0(resolve("bundled:efficientnet_lite0").path).eval()
    pixels = imaging.reader.preprocess(
        Item(hours=0, code="", where="", path=tmp_path / "photo.png")
    ).tensors["pixels"]
    with torch.no_grad():
        assert whole(pixels).argmax().item() in classes
        pooled = imaging.eval().encode({"pixels": pixels})[:, 0]
        torch.testing.assert_close(
            whole.get_classifier()(pooled), whole(pixels), atol=1e-4, rtol=1e-4
        )


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"net\.pth: tensors do not fit"):
        load_efficientnet_lite0(tmp_path / "net.pth")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_hugging_face_family_gives_pooled_and_map(family):
    encoder = make_image_encoder({"model_type": family, **FAMILIES[family]}, None)
    pooled, regions = run(encoder, images(32))
    side = {"swin": 4, "convnext": 4, "resnet": 4}.get(family, 4)
    assert pooled.shape == (2, 32)
    assert regions.shape == (2, 32, side, side)
    assert not torch.allclose(pooled[0], pooled[1])
    encoder.requires_grad_(True).train()
    pooled, regions = encoder(images(32))
    (pooled.square().sum() + regions.square().sum()).backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    "family", ["vit", "dinov2", "siglip_vision_model", "clip_vision_model", "beit", "swin"]
)
def test_another_size_than_the_model_s_own_is_interpolated(family):
    encoder = make_image_encoder({"model_type": family, **FAMILIES[family]}, 64)
    assert encoder.preprocessing.size == 64
    assert run(encoder, images(64))[1].shape == (2, 32, 8, 8)


@pytest.mark.parametrize("family", ["vit", "siglip_vision_model", "dinov2"])
def test_a_hugging_face_folder_gives_the_models_own_output(tmp_path, family):
    config = AutoConfig.for_model(family, **FAMILIES[family])
    model = AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="how to normalise images is unknown"):
        make_image_encoder(resolve(str(tmp_path)), None)
    ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
    ).save_pretrained(tmp_path)
    encoder = make_image_encoder(resolve(str(tmp_path)), None)
    own = encoder.preprocessing
    assert (own.size, own.mean, own.std, own.interpolation) == (
        32,
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
        "bilinear",
    )
    pooled, regions = run(encoder, images(32))
    with torch.no_grad():
        output = model(pixel_values=images(32))
    torch.testing.assert_close(pooled, output.pooler_output)
    patches = output.last_hidden_state[:, -16:]
    torch.testing.assert_close(regions[:, :, 1, 2], patches[:, 6])


def test_without_pooler_weights_the_class_token_is_pooled(tmp_path):
    model = AutoModel.from_config(AutoConfig.for_model("vit", **FLAT)).eval()
    model.pooler = None
    model.save_pretrained(tmp_path)
    CLIPImageProcessor(crop_size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = make_image_encoder(resolve(str(tmp_path)), None)
    with torch.no_grad():
        expected = model(images(32)).last_hidden_state[:, 0]
    torch.testing.assert_close(run(encoder, images(32))[0], expected)
    assert encoder.preprocessing.size == 32


def test_of_an_image_text_model_the_vision_half_is_taken(tmp_path):
    text = {**TINY, "vocab_size": 50, "max_position_embeddings": 16}
    model = AutoModel.from_config(
        AutoConfig.for_model("siglip", vision_config=FLAT, text_config=text)
    ).eval()
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = make_image_encoder(resolve(str(tmp_path)), None)
    with torch.no_grad():
        expected = model.vision_model(images(32)).pooler_output
    torch.testing.assert_close(run(encoder, images(32))[0], expected)
    assert not any("text" in name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("name", TIMM)
def test_any_timm_model_gives_pooled_and_map(name):
    encoder = make_image_encoder({"architecture": name, **TIMM[name]}, 64)
    pooled, regions = run(encoder, images(64))
    assert pooled.shape[1] == regions.shape[1]
    assert regions.shape[2] == regions.shape[3] > 1
    assert not torch.allclose(pooled[0], pooled[1])
    with torch.no_grad():
        torch.testing.assert_close(pooled, encoder.model(images(64)))


def test_a_timm_folder_gives_the_same_as_its_model(tmp_path):
    model = timm.create_model(
        "test_vit", num_classes=3, pretrained_cfg_overlay={"mean": (0.1, 0.2, 0.3)}
    ).eval()
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    encoder = make_image_encoder(resolve(str(tmp_path)), None)
    assert isinstance(encoder, TimmEncoder)
    assert encoder.preprocessing.mean == (0.1, 0.2, 0.3)
    model.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(run(encoder, images(160))[0], model(images(160)))


def test_the_small_cnn_treats_each_image_alone_even_in_training():
    encoder = make_image_encoder({"architecture": "cnn", "widths": [6, 12]}, 28).train()
    pooled, regions = encoder(images(28, 3))
    assert pooled.shape == (3, 12)
    assert regions.shape == (3, 12, 14, 14)
    torch.testing.assert_close(pooled[:1], encoder(images(28, 3)[:1])[0])


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"architecture": "cnn", "widths": [4]}, None),
        ({"architecture": "cnn", "wide": [4]}, 28),
        ({"architecture": "no_such_net"}, 28),
        ({"architecture": "resnet18", "no_such_setting": 1}, 28),
        ({"model_type": "vit", **TINY}, None),
    ],
)
def test_a_config_that_makes_no_encoder_is_refused(config, size):
    with pytest.raises(ConfigError):
        make_image_encoder(config, size)


def test_the_processor_s_interpolation_is_kept(tmp_path):
    AutoModel.from_config(AutoConfig.for_model("vit", **FLAT)).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}, resample=3).save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).resample == 3
    assert make_image_encoder(resolve(str(tmp_path)), None).preprocessing.interpolation == "bicubic"


def with_statistics(encoder):
    """Give batch norms statistics as after training, so that folding them does something."""
    draw = torch.Generator().manual_seed(0)
    for norm in norms(encoder):
        norm.running_mean.normal_(generator=draw)
        norm.running_var.uniform_(0.5, 2, generator=draw)
        norm.weight.data.uniform_(0.5, 2, generator=draw)
        norm.bias.data.normal_(generator=draw)
    return encoder.eval()


def norms(encoder):
    return [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "test_efficientnet", "resnet"])
def test_folded_batch_norms_give_the_same_embeddings(name):
    if name == "efficientnet_lite0":
        encoder = make_image_encoder(resolve("bundled:efficientnet_lite0"), 64).eval()
    elif name == "resnet":
        encoder = with_statistics(
            make_image_encoder({"model_type": "resnet", **FAMILIES["resnet"]}, None)
        )
    else:
        encoder = with_statistics(make_image_encoder({"architecture": name}, 32))
    folded = fold_norms(encoder)
    assert norms(encoder)
    assert not norms(folded)
    for before, after in zip(run(encoder, images(64)), run(folded, images(64)), strict=True):
        torch.testing.assert_close(after, before, atol=1e-4 * float(before.abs().max()), rtol=1e-4)


class Misordered(ImageEncoder):
    """Runs its batch norm before the convolution that stands before it."""

    def __init__(self):
        super().__init__(Preprocessing(size=8))
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, pixels):
        features = self.convolution(self.norm(pixels))
        return features.mean((2, 3)), features


def test_encoders_that_cannot_be_folded_stay_as_they_are():
    for encoder in (
        make_image_encoder({"architecture": "test_vit", **TIMM["test_vit"]}, 32),
        with_statistics(Misordered()),
    ):
        assert fold_norms(encoder) is encoder


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_an_encoder_whose_own_weights_stay_is_folded(mode):
    imaging = Imaging(source="bundled:efficientnet_lite0", size=64, mode=mode)
    imaging.build({})
    assert bool(norms(imaging.encoder)) == (mode == "full")
