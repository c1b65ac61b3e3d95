"""Images: any timm or Hugging Face vision encoder, or a small one from scratch."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from clintune.core.errors import ConfigError
from clintune.modalities.base import Modality, Mode, load_encoder
from clintune.modalities.images.encoders import ImageEncoder, fold_norms, make_image_encoder
from clintune.modalities.images.reader import Fit, ImageReader
from clintune.weights import ResolvedWeights, origin_of, resolve_or_random


class Imaging(Modality):
    """Images, each one piece of 1 + `regions`² tokens: pooled embedding, then regions row by row.

    `source` is `timm:NAME`, a bundle, a folder or hub id of a timm or Hugging Face vision model,
    or `random` with a `config`. `size` is the side of the images that the encoder reads; by default
    its own. ImageReader says how images become square by `fit`, and what `views` show. `flip` is
    off by default, because a mirrored chest is another finding.
    """

    reader: ImageReader

    def __init__(
        self,
        *,
        source: str,
        revision: str | None = None,
        sha256: str | None = None,
        config: dict[str, Any] | None = None,
        codes: list[str] | None = None,
        size: int | None = None,
        fit: Fit = "pad",
        regions: int = 0,
        flip: bool = False,
        mode: Mode = "frozen",
        max_pieces: int = 4,
        views: int = 1,
    ) -> None:
        reader = ImageReader(square=fit, flip=flip, views=views, max_pieces=max_pieces, codes=codes)
        super().__init__(reader, mode=mode)
        self.find_weights = partial(
            resolve_or_random, source, config=config, revision=revision, sha256=sha256
        )
        self.size = size
        self.fit = fit
        self.regions = regions

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load or make the encoder, and find the width of its tokens."""
        # Load the encoder.
        weights = self.find_weights()
        load = make_image_encoder if self.mode == "full" else _load_folded
        self.encoder = load_encoder(self.mode, load, weights, self.size)
        self.reader.preprocessing = self.encoder.preprocessing
        self.origin = origin_of(weights)

        # Find the shape of its tokens.
        self.width, region_width = _widths(self.encoder)
        if self.regions and self.width != region_width:
            raise ConfigError(
                f"regions: the encoder's pooled width {self.width} is not {region_width}; "
                "set regions to 0"
            )
        self.tokens_per_piece = 1 + self.regions**2

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode images to [P, 1 + regions², W]."""
        pooled, regions = self.encoder(tensors["pixels"])
        if not self.regions:
            return pooled.unsqueeze(1)  # type: ignore[no-any-return]
        tiles = adaptive_avg_pool2d(regions, self.regions).flatten(2).transpose(1, 2)
        return torch.cat([pooled.unsqueeze(1), tiles], dim=1)


def _load_folded(weights: ResolvedWeights | Mapping[str, Any], size: int | None) -> ImageEncoder:
    """Make an encoder; fold the norms of a pretrained one.

    A random one stays as it is, because a package holds it so.
    """
    encoder = make_image_encoder(weights, size)
    return fold_norms(encoder) if isinstance(weights, ResolvedWeights) else encoder


def _widths(encoder: ImageEncoder) -> tuple[int, int]:
    """Return the widths of an encoder's pooled and region embeddings; it encodes a black image."""
    training, size = encoder.training, encoder.preprocessing.size
    device = next(encoder.parameters()).device  # a shared encoder may be where it was used last
    with torch.no_grad():
        pooled, regions = encoder.eval()(torch.zeros(1, 3, size, size, device=device))
    encoder.train(training)
    return pooled.shape[1], regions.shape[1]
