"""Samples that lose modalities: nested by share, each by itself, and nothing else changes."""

import pickle

import numpy as np
import pytest

from clintune.benchmark.missing import thinned
from clintune.config.compose import compose_recipe
from clintune.experiment.open import open_experiment

MODALITIES = ("notes", "imaging", "wearable", "static")


@pytest.fixture
def samples(recipe):
    return open_experiment(compose_recipe(recipe())).samples


def has(samples, modality):
    rows = np.arange(len(samples))
    return np.bincount(samples.seen(modality, rows).owner, minlength=len(rows)) > 0


def test_a_larger_share_takes_more_from_the_same_samples(samples):
    for modality in MODALITIES:
        before = has(samples, modality)
        for share in (0.2, 0.4, 0.8):
            after = has(thinned(samples, share, 0), modality)
            assert not (after & ~before).any()
            assert abs((~after).mean() - (~has(samples, modality)).mean() - share) < 0.25
            before = after


def test_modalities_are_lost_independently_and_by_the_seed(samples):
    lost = {name: ~has(thinned(samples, 0.5, 0), name) for name in MODALITIES}
    assert len({tuple(gone) for gone in lost.values()}) == len(MODALITIES)
    assert (has(thinned(samples, 0.5, 1), "notes") != ~lost["notes"]).any()


def test_what_is_left_is_what_was_there_also_in_another_process(samples):
    thin = pickle.loads(pickle.dumps(thinned(samples, 0.5, 0)))
    rows = np.arange(len(samples))[::-1]
    whole, left = samples.seen("notes", rows), thin.seen("notes", rows)
    kept = np.isin(whole.owner, np.unique(left.owner))
    for before, after in zip(whole.take(kept), left, strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(samples.targets("outcome"), thin.targets("outcome"))
    assert thinned(samples, 0.0, 0) is samples
