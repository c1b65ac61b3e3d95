"""Build the model that a config describes: modalities, backbone with adapter, fusion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from clintune.cohort.samples import Samples
from clintune.config.parts import instantiate_section
from clintune.config.schema import Config
from clintune.core.errors import ConfigError, DataError
from clintune.core.seeding import seeded
from clintune.features.columnar import TrainingRows
from clintune.features.statistics import Statistics as Statistics
from clintune.features.statistics import remembered_statistics
from clintune.modalities.base import Modality
from clintune.modalities.readers import ItemReader
from clintune.model.adapters import adapt_backbone, adapt_encoder
from clintune.model.backbone import Backbone, load_backbone
from clintune.model.fusion import Fusion


def make_modalities(parts: Mapping[str, Any]) -> dict[str, Modality]:
    """Instantiate the modalities of a config; nothing is loaded yet."""
    return instantiate_section("modalities", parts)


def fit_statistics(
    modalities: Mapping[str, Modality], samples: Samples, rows: NDArray[np.int64], cache: Path
) -> Statistics:
    """Fit the statistics of each modality on the items that the training samples `rows` see.

    They come from `cache` where it has them. The modalities are constructed, but not built yet.
    Raises DataError when no training sample has an item of a modality: its parts could never train.
    """
    # Check all modalities before the first is fitted.
    for name, modality in modalities.items():
        if not samples.num_items(name)[rows].any():
            why = _why_unseen(
                modality, samples.num_rows(name), seen=bool(samples.num_items(name).any())
            )
            raise DataError(
                f"modalities.{name}: no training sample has an item of it: {why}, "
                "or drop the modality"
            )

    statistics = {}
    for name, modality in modalities.items():
        items = (
            samples.items(name, rows)
            if isinstance(modality.reader, ItemReader)
            else TrainingRows(samples, name, rows)
        )
        statistics[name] = remembered_statistics(name, modality.reader, items, cache)
    return statistics


def _why_unseen(modality: Modality, num_rows: int, seen: bool) -> str:
    """Return why no training sample sees a row that a modality selects, and what to do.

    `seen` says whether samples outside training see one.
    """
    # No row of the cohorts is one of the modality.
    column = modality.reader.media_column
    if not num_rows and column:
        return (
            f"it reads no row of the cohorts; fill the column {column} of their tables, list it "
            "in metadata/dataset.json, check the modality's codes"
        )
    if not num_rows:
        return "it reads no row of the cohorts; check its codes"

    # There are rows, but training samples see none of them.
    reads = f"it reads {num_rows:,} {'rows' if num_rows > 1 else 'row'}"
    if seen:
        return f"{reads}, which samples outside the training split alone see; check the splits"
    return (
        f"{reads}, and no sample sees any: all come after the prediction times of their "
        "subjects, before the look-back, or are of subjects without labels; check the times"
    )


def build_modalities(modalities: Mapping[str, Modality], statistics: Statistics, seed: int) -> None:
    """Load or make the encoders.

    The random weights of an encoder that trains depend on `seed`. Those of a frozen one are the
    same for every seed, because its tokens are computed once for all members. Raises ConfigError
    for settings that do not fit the encoder.
    """
    for name, modality in modalities.items():
        drawn = ("frozen encoder", name) if modality.mode == "frozen" else (seed, "encoder", name)
        with seeded(*drawn):
            try:
                modality.build(statistics[name])
            except ConfigError as error:
                raise ConfigError(f"modalities.{name}: {error}") from error


def build_model(
    config: Config,
    modalities: Mapping[str, Modality],
    statistics: Statistics,
    outputs: Mapping[str, int],
    seed: int,
    *,
    shared: Backbone | None = None,
) -> Fusion:
    """Build the model: load encoders and backbone, add adapters, projectors, queries and heads.

    New weights depend on `seed` alone. `outputs` is the number of outputs of each task. With
    `shared`, the backbone is the base of that one with another adapter.
    """
    # Encoders have seeds of their own; all other new weights are drawn in this order.
    build_modalities(modalities, statistics, seed)
    with seeded(seed, "init"):
        for name, modality in modalities.items():
            encoder = getattr(modality, "encoder", None)
            if encoder is not None:
                adapt_encoder(encoder, modality.mode, config.adapter, f"modalities.{name}.mode")

        backbone = shared.beside() if shared else load_backbone(config.backbone)
        adapt_backbone(backbone, config.adapter)
        if config.backbone.compile:
            backbone.compile_layers()
        return Fusion(
            modalities,
            backbone,
            outputs,
            max_tokens=config.backbone.max_tokens,
            readout=config.model.readout,
            head_dropout=config.model.head_dropout,
        )


def trainable(model: Fusion) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name."""
    return {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def parameters_of(module: nn.Module) -> tuple[int, int]:
    """Return the number of trainable parameters and of all parameters."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)
