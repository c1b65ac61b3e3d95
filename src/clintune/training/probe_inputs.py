"""What a probe is fitted to: the features of each sample, its fold and its weight."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.cohort.samples import Samples
from clintune.cohort.splits import assign_balanced
from clintune.contracts import Tokens
from clintune.core.seeding import generator
from clintune.features.batching import Batches, sequential_batches
from clintune.features.pieces import PieceSource
from clintune.modalities.base import Modality
from clintune.model.heads import readout_features

NUM_FOLDS = 4
_BATCH_SIZE = 64


def pooled_embeddings(
    modalities: Mapping[str, Modality],
    samples: Samples,
    caches: Mapping[str, PieceSource],
    rows: NDArray[np.int64],
) -> dict[str, Tensor]:
    """Return what the probe reads of each modality [N, W] in its plain view, on the CPU.

    A sample without the modality has zeros.
    """
    pooled: dict[str, list[Tensor]] = {name: [] for name in modalities}
    batches = Batches(samples, modalities, caches)
    for draw in sequential_batches(rows, _BATCH_SIZE):
        batch = batches[draw]
        for name, modality in modalities.items():
            if name in batch.pieces:
                part = batch.pieces[name]
                tokens = None if part.encoded is None else Tokens.of_pieces(part.encoded, part)
                pooled[name].append(
                    readout_features(modality, part, tokens, len(batch), probe=True)
                )
            else:
                pooled[name].append(torch.zeros(len(batch), modality.probe_width))
    return {name: torch.cat(parts) for name, parts in pooled.items()}


def column_choices(
    choices: Sequence[Sequence[Sequence[int]]], widths: Sequence[int]
) -> list[list[int]]:
    """Combine the choices of every modality into choices of columns of all of them side by side."""
    starts = [0, *accumulate(widths)][:-1]
    found = []
    for combination in product(*choices):
        columns = []
        for start, choice in zip(starts, combination, strict=True):
            columns += [start + column for column in choice]
        found.append(columns)
    return found


def subject_folds(subject: NDArray[np.int64], targets: NDArray[np.float32], seed: int) -> Tensor:
    """Assign subjects to folds, those ever positive and the others evenly.

    Returns the fold of each sample [N].
    """
    distinct, number = np.unique(subject, return_inverse=True)
    draws = torch.randperm(len(distinct), generator=generator(seed, "probe folds")).double().numpy()
    return torch.from_numpy(assign_balanced(number, draws, NUM_FOLDS, targets))


def folds_of_labelled(subject: NDArray[np.int64], targets: Tensor, seed: int) -> Tensor:
    """Return the fold of each sample [N], -1 where none of its targets [N, T] is known.

    Linked subjects, of one number, stay together: what is chosen in the folds would be chosen by
    memory.
    """
    labelled = ~targets.isnan().all(dim=1)
    fold = torch.full((len(subject),), -1)
    fold[labelled] = subject_folds(subject[labelled.numpy()], targets[labelled].numpy(), seed)
    return fold


def subject_weights(subject: NDArray[np.int64]) -> Tensor:
    """Return weights [N] of mean one that give every subject the same sum."""
    _, number, counts = np.unique(subject, return_inverse=True, return_counts=True)
    return torch.from_numpy(len(subject) / len(counts) / counts[number])
