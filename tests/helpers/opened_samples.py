"""Cohorts opened for modalities."""

from clintune.cohort.index import SampleIndex
from clintune.cohort.samples import Samples
from clintune.config.schema import Cohort
from clintune.core.seeding import seeded
from clintune.modalities.base import readers_of
from clintune.modalities.imaging import Imaging
from clintune.tasks.binary import Binary


def open_samples(roots, modalities, cache):
    """Return the samples of the cohorts at `roots`, named a, b, ..."""
    tasks = {"outcome": Binary(label="deterioration")}
    indexes = [
        SampleIndex.open(name, Cohort(root=str(root)), readers_of(modalities), tasks, cache)
        for name, root in zip("abc", roots, strict=False)
    ]
    return Samples(indexes)


def small_imaging(**settings):
    """Return a built imaging modality with a small random encoder, frozen unless told otherwise."""
    settings = {"mode": "frozen", "size": 16, **settings}
    modality = Imaging(source="random", config={"architecture": "cnn", "widths": [4]}, **settings)
    with seeded(0):
        modality.build({})
    return modality.eval()
