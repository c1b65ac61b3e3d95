"""What baselines read of samples: frozen embeddings of each modality, or the text of the notes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.samples import Items, Samples
from clintune.contracts import Item
from clintune.core.errors import ConfigError
from clintune.experiment.fold_data import FoldData
from clintune.training.probe_inputs import pooled_embeddings

Inputs = Mapping[str, NDArray[Any]]
"""By modality: features [N, W], NaN for samples that lack it; or texts [N, 1], empty for none."""
Read = Callable[[Samples, NDArray[np.int64]], Inputs]
"""Function from samples and rows of them to what a baseline reads."""


def embeddings(ready: FoldData, modality: str | None) -> Read:
    """Return what reads a modality's mean frozen embeddings, plain facts or features (None: all's).

    They are what `model.readout=probe` reads. Raises ConfigError where there is no such
    modality, or its encoder trains.
    """
    frozen = {name: part for name, part in ready.modalities.items() if part.probe_width}
    chosen = {name: part for name, part in frozen.items() if modality in (None, name)}
    if not chosen:
        lacking = "no modality has" if modality is None else f"modality '{modality}' does not have"
        raise ConfigError(
            f"this baseline reads a frozen encoder, which {lacking}; take it out of the suite"
        )

    def read(samples: Samples, rows: NDArray[np.int64]) -> Inputs:
        found = {}
        for name, pooled in pooled_embeddings(chosen, samples, ready.pieces, rows).items():
            part = pooled.double().numpy()
            found[name] = np.where(part.any(axis=1, keepdims=True), part, np.nan)
        return found

    return read


def texts(ready: FoldData) -> Read:
    """Return what reads the texts of a sample's items as one, oldest first."""

    def read(samples: Samples, rows: NDArray[np.int64]) -> Inputs:
        parts = [list[str]() for _ in rows]
        for name in ready.modalities:
            for owner, item in items_by_owner(samples, name, rows):
                parts[owner].append(item.text or "")
        return {"text": np.array([["\n".join(filter(None, part))] for part in parts], dtype=object)}

    return read


def items_by_owner(
    samples: Samples, modality: str, rows: NDArray[np.int64]
) -> Iterator[tuple[int, Item]]:
    """Yield the items that the samples `rows` see, oldest first, with the place of the sample.

    An item that several samples see is read once.
    """
    seen = samples.seen(modality, rows)
    numbers, place = np.unique(seen.number, return_inverse=True)
    items = list(Items(samples, modality, numbers, np.zeros(len(numbers))))
    for owner, position in zip(seen.owner.tolist(), place.tolist(), strict=True):
        yield owner, items[position]


def nothing(samples: Samples, rows: NDArray[np.int64]) -> Inputs:
    """Read nothing of the samples `rows`."""
    return {"nothing": np.zeros((len(rows), 0))}
