"""Statistics are fitted once for the same items, files and settings, and anew when any of them changes."""

import numpy as np
import pytest
from opened import open_samples

from clintune.modalities.static import Static
from clintune.modalities.wearable import Wearable
from clintune.model.build import fit_statistics


@pytest.fixture
def fitted(cohort, tmp_path):
    """Return a function that gives the statistics of a cohort and how many are remembered then."""

    def fitted(rows=range(20), **settings):
        modalities = {
            "static": Static(codes=["AGE"]),
            "wearable": Wearable(**{"rate_hz": 1 / 60, "window_hours": 24, **settings}),
        }
        samples = open_samples([cohort], modalities, tmp_path / "cache")
        found = fit_statistics(modalities, samples, np.array(rows), tmp_path / "cache")
        for name, modality in modalities.items():
            assert found[name] == modality.fit(samples.items(name, np.array(rows)))
        return found, len(list((tmp_path / "cache" / "statistics").glob("*.json")))

    return fitted


def test_the_same_is_fitted_once_and_anything_else_anew(fitted, cohort):
    first, count = fitted()
    assert count == 2
    assert fitted() == (first, 2)
    assert fitted(range(10))[1] == 4
    assert fitted(transform="log1p")[1] == 5
    recordings = sorted(cohort.rglob("*.npz"))
    for path in recordings[:-1]:
        path.write_bytes(recordings[-1].read_bytes() + b"\0")
    changed, count = fitted()
    assert count == 6
    assert changed["wearable"] != first["wearable"]
    assert changed["static"] == first["static"]
