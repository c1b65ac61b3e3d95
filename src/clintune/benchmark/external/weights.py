"""The recipe's own pretrained weights as folders that other libraries load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clintune.modalities.base import Modality
from clintune.modalities.images.encoders import TimmEncoder, make_image_encoder
from clintune.modalities.imaging import Imaging
from clintune.modalities.notes import NativeNotes, Notes
from clintune.weights import ResolvedWeights, resolve

_ELSEWHERE = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "architecture")
"""Keys of timm's description of weights that say where they were."""


def text_model(modalities: Mapping[str, Modality]) -> str | None:
    """Return the folder of the model that reads the notes, None where none is pretrained."""
    for part in modalities.values():
        if isinstance(part, NativeNotes):
            return str(resolve(part.source, revision=part.revision).path)
        if isinstance(part, Notes) and isinstance(weights := part.find_weights(), ResolvedWeights):
            return str(weights.path)
    return None


def image_model(modalities: Mapping[str, Modality], folder: Path) -> str | None:
    """Write the image encoder to `folder` as timm does, and return the folder.

    Return None where the encoder is random or not timm's.
    """
    for part in modalities.values():
        if isinstance(part, Imaging) and isinstance(
            weights := part.find_weights(), ResolvedWeights
        ):
            encoder = make_image_encoder(weights, part.size)
            if isinstance(encoder, TimmEncoder):
                _write(encoder.model, folder)
                return str(folder)
    return None


def _write(model: Any, folder: Path) -> None:
    folder.mkdir()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    own = model.pretrained_cfg
    known = {key: value for key, value in own.items() if value is not None}
    config = {
        "architecture": own["architecture"],
        "num_classes": 0,
        "num_features": model.num_features,
        "pretrained_cfg": {key: known[key] for key in known if key not in _ELSEWHERE},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
