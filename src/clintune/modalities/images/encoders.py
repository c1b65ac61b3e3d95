"""Image encoders with one interface: timm, Hugging Face vision models, a small CNN.

Each returns a pooled embedding and a map of region embeddings, and says how to preprocess images.
"""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from timm.layers.norm_act import BatchNormAct2d
from timm.models._hub import load_model_config_from_path
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import AutoImageProcessor, PreTrainedModel

from clintune.core.errors import ConfigError, WeightsError
from clintune.core.text import visible
from clintune.weights import ResolvedWeights, drop_unused, load_transformer, stored_size
from clintune.weights.budget import building_within

_HALF = (0.5, 0.5, 0.5)
_TIMM_READS = "model.safetensors"
"""The file that timm prefers to a pickle (*.bin, *.pt, *.pth) beside it."""
_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Interpolations by their numbers in pillow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What pixels an encoder expects.

    `size` is the side of the square; `mean` and `std` normalise 0..1 values; `interpolation`
    names how an image is resized.
    """

    size: int
    mean: tuple[float, ...] = _HALF
    std: tuple[float, ...] = _HALF
    interpolation: str = "bicubic"


class ImageEncoder(nn.Module, ABC):
    """Base of encoders of pixels [P, 3, S, S].

    They return a pooled embedding [P, W] and a map [P, C, H, H]; C is W for most encoders.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    @abstractmethod
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (pooled, map)."""


def make_image_encoder(
    weights: ResolvedWeights | Mapping[str, Any], size: int | None
) -> ImageEncoder:
    """Make the encoder of some weights, or a random one by its config.

    A config names an `architecture` (`cnn`, or any timm name) or a Hugging Face `model_type`,
    beside its settings. `size` overrides the encoder's own image size.
    """
    # A random encoder.
    if not isinstance(weights, ResolvedWeights):
        if weights.get("architecture") == "cnn":
            return _small_cnn(weights, size)
        if "architecture" in weights:
            return TimmEncoder(_create_timm(size, **weights), size)
        return TransformerEncoder(load_transformer(weights), _random_preprocessing(weights, size))

    # A pretrained one.
    if weights.path.suffix == ".pth":
        model = load_efficientnet_lite0(weights.path)
        model.reset_classifier(0)
        return TimmEncoder(model, size)
    if _is_timm(weights.path):
        return TimmEncoder(_load_timm(weights, size), size)
    return TransformerEncoder(load_transformer(weights), _own_preprocessing(weights, size))


class TimmEncoder(ImageEncoder):
    """Any timm model without its classifier; pooled as timm pools it."""

    def __init__(self, model: Any, size: int | None) -> None:
        data = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
        own = data["interpolation"]
        preprocessing = Preprocessing(
            size=size or data["input_size"][-1],
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
            interpolation=own if own != "random" else "bicubic",
        )
        super().__init__(preprocessing)
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (pooled, map)."""
        features = self.model.forward_features(pixels)
        pooled = self.model.forward_head(features, pre_logits=True)
        if features.ndim == 3:
            return pooled, _to_map(features[:, self.model.num_prefix_tokens :])

        channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        return pooled, features.permute(0, 3, 1, 2) if channels_last else features


class TransformerEncoder(ImageEncoder):
    """Any Hugging Face vision model, or the vision half of an image-text model.

    The pooled embedding is the model's own if its weights came with the model, else the class
    token, else the mean.
    """

    def __init__(self, model: PreTrainedModel, preprocessing: Preprocessing) -> None:
        super().__init__(preprocessing)
        self.model = getattr(model, "vision_model", model)
        drop_unused(self.model, "mask_token")

        # The number of patches of an image.
        config = model.config if self.model is model else model.config.vision_config
        patch = getattr(config, "patch_size", None)
        self.patches = (preprocessing.size // patch) ** 2 if isinstance(patch, int) else None

        # Ask the model to interpolate its positions for images of another size. Models that do so
        # unasked, such as DINOv2, have no such parameter.
        resized = getattr(config, "image_size", None) not in (None, preprocessing.size)
        asks = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if resized and asks else {}

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (pooled, map)."""
        output = self.model(pixel_values=pixels, **self.options)
        hidden = output.last_hidden_state
        pooled = output.get("pooler_output")
        if hidden.ndim == 4:
            return hidden.mean((2, 3)) if pooled is None else pooled.flatten(1), hidden

        # What stands before the patches are class tokens. A hierarchical model merges patches, so
        # that the greatest square of tokens is its map.
        length = hidden.shape[1]
        hierarchical = self.patches is None or self.patches > length
        prefix = length - isqrt(length) ** 2 if hierarchical else length - (self.patches or 0)
        if pooled is None:
            pooled = hidden[:, 0] if prefix else hidden.mean(1)
        return pooled, _to_map(hidden[:, prefix:])


class SmallCNN(ImageEncoder):
    """A plain network to train from scratch.

    Each width has two 3 x 3 convolutions with group norm; pooling halves the map between widths.
    """

    def __init__(self, widths: list[int], preprocessing: Preprocessing) -> None:
        super().__init__(preprocessing)
        layers: list[nn.Module] = []
        for before, width in zip([3, *widths], widths, strict=False):
            layers += [*_convolution(before, width), *_convolution(width, width), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (pooled, map)."""
        features = self.layers(pixels)
        return features.mean((2, 3)), features


def fold_norms(encoder: ImageEncoder) -> ImageEncoder:
    """Return a copy of an encoder with its batch norms folded into the convolutions before them.

    Folding and channels last nearly double the speed on a CPU. LoRA wraps the folded convolutions.
    The encoder comes back unchanged where no batch norm stands behind a convolution, or where
    the outputs show that the two do not run in the order they stand in.
    """
    folded = copy.deepcopy(encoder.eval())
    pairs = [
        (parent, before, after)
        for parent in folded.modules()
        for before, after in pairwise(parent.named_children())
        if _is_foldable(before[1], after[1])
    ]
    if not pairs:
        return encoder

    # Fold each pair; what a timm norm does beside normalising stays in its place.
    for parent, (name, convolution), (norm_name, norm) in pairs:
        fused = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var,arg-type]
        parent.add_module(name, fused)
        own = [norm.drop, norm.act] if isinstance(norm, BatchNormAct2d) else []
        parent.add_module(norm_name, nn.Sequential(*own) if own else nn.Identity())
    folded.to(memory_format=torch.channels_last)

    # Compare both on random images.
    size = encoder.preprocessing.size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = zip(encoder(images), folded(images), strict=True)
    same = all(_are_close(before, after) for before, after in outputs)
    return folded if same else encoder


def load_efficientnet_lite0(path: Path) -> Any:
    """Load the bundled EfficientNet-Lite0 with its ImageNet classifier into timm's model.

    Its tensors have other names but stand in the same order. `weights_only` makes sure that no code
    in the file runs. Raises WeightsError when the tensors do not fit.
    """
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    read = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for name, value in read.items() if not name.endswith("num_batches_tracked")]

    state = model.state_dict()
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    if [state[name].shape for name in names] != [value.shape for value in values]:
        raise WeightsError(
            f"weights {path.name}: tensors do not fit tf_efficientnet_lite0; reinstall the package"
        )
    model.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    return model


def _create_timm(size: int | None, architecture: str, **settings: Any) -> Any:
    """Make a random timm model; raises ConfigError for settings that timm does not take."""
    # Other names and these keys would make timm fetch or read files that nobody checked.
    files = {"checkpoint_path", "cache_dir"}
    foreign = [key for key in settings if key.startswith("pretrained") or key in files]
    if not timm.is_model(architecture) or foreign:
        wrong = foreign[0] if foreign else f"architecture {visible(architecture)[:100]}"
        raise ConfigError(
            f"config of a random image encoder: timm makes none of {visible(wrong)}; correct it"
        )

    try:
        own = timm.get_pretrained_cfg(architecture)
        if size is not None and own is not None and own.fixed_input_size:
            settings["img_size"] = size
        return timm.create_model(architecture, pretrained=False, num_classes=0, **settings)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"config of a random image encoder: timm cannot make {architecture} ({error})"
        ) from error


def _load_timm(weights: ResolvedWeights, size: int | None) -> Any:
    """Load a timm model from its folder; raises WeightsError when timm cannot."""
    # A model of fixed input size takes another size only when it is made.
    config = load_model_config_from_path(weights.path)[0]
    fixed = size is not None and config.get("fixed_input_size")
    sized: dict[str, Any] = {"img_size": size} if fixed else {}

    # Load it, unless its folder holds a pickle alone.
    if not (weights.path / _TIMM_READS).is_file() and any(weights.path.glob("*.[bp]*")):
        raise WeightsError(
            f"weights {weights.source}: timm would read a pickle; name the weights {_TIMM_READS}"
        )
    try:
        with building_within(*stored_size(weights)):
            source = f"local-dir:{weights.path}"
            return timm.create_model(source, pretrained=True, num_classes=0, **sized)
    except (RuntimeError, OSError, TypeError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"weights {weights.source}: timm cannot load them ({type(error).__name__})"
        ) from error


def _small_cnn(config: Mapping[str, Any], size: int | None) -> SmallCNN:
    if set(config) != {"architecture", "widths"} or size is None:
        raise ConfigError(
            "config of architecture cnn takes `widths`, a list of channels, and `size` must be set"
        )
    return SmallCNN(list(config["widths"]), Preprocessing(size=size))


def _are_close(before: Tensor, after: Tensor) -> bool:
    """Return whether two outputs differ by rounding alone."""
    return bool((before - after).abs().max() <= 1e-4 * before.abs().max())


def _is_foldable(before: nn.Module, after: nn.Module) -> bool:
    """Return whether `after` is a batch norm that can be folded into the convolution `before`."""
    return (
        isinstance(before, nn.Conv2d)
        and isinstance(after, nn.BatchNorm2d)
        and after.track_running_stats
        and before.out_channels == after.num_features
    )


def _is_timm(folder: Path) -> bool:
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(
            f"weights in {folder.name}: config.json is missing; copy the whole model folder"
        )
    return '"architecture"' in config.read_text(encoding="utf-8")


def _random_preprocessing(config: Mapping[str, Any], size: int | None) -> Preprocessing:
    own = config.get("image_size")
    if size is None and own is None:
        raise ConfigError("config of a random image encoder lacks image_size; set it, or `size`")
    return Preprocessing(size=size or int(own))  # type: ignore[arg-type]


def _own_preprocessing(weights: ResolvedWeights, size: int | None) -> Preprocessing:
    """Read the preprocessing beside the weights; raises WeightsError where there is none."""
    try:
        processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            weights.path, local_files_only=True, trust_remote_code=False
        )
        own = getattr(processor, "crop_size", None) or processor.size

        return Preprocessing(
            size=size or own.get("height") or own["shortest_edge"],
            mean=tuple(processor.image_mean),
            std=tuple(processor.image_std),
            interpolation=_RESAMPLE.get(int(processor.resample), "bicubic"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "add its preprocessor_config.json with size, image_mean and image_std"
        raise WeightsError(
            f"weights {weights.source}: how to normalise images is unknown; {remedy}"
        ) from error


def _to_map(tokens: Tensor) -> Tensor:
    """Lay patch tokens [P, H*H, W] out as a map [P, W, H, H]."""
    side = isqrt(tokens.shape[1])
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def _convolution(before: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, width, 3, padding=1, bias=False),
        nn.GroupNorm(_groups(width), width),
        nn.ReLU(),
    ]


def _groups(width: int) -> int:
    return next(groups for groups in (8, 4, 2, 1) if width % groups == 0)
