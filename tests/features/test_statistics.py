"""Statistics are fitted once for equal items, files and settings, and anew after a change."""

import re

import numpy as np
import pytest

from clintune.cohort.records import record_files
from clintune.features.media import remembered_sha256, stamps
from clintune.modalities.static import Static
from clintune.modalities.wearable import Wearable
from clintune.model.build import fit_statistics
from helpers.opened_samples import open_samples


@pytest.fixture
def fitted(cohort, tmp_path):
    """Return a function that gives the statistics of a cohort and how many are remembered then."""

    def fitted(rows=range(20), **settings):
        modalities = {
            "static": Static(codes=["AGE"]),
            "wearable": Wearable(
                **{"rate_hz": 1 / 60, "window_hours": 24, "transform": "none", **settings}
            ),
        }
        samples = open_samples([cohort], modalities, tmp_path / "cache")
        found = fit_statistics(modalities, samples, np.array(rows), tmp_path / "cache")
        for name, modality in modalities.items():
            reader, items = modality.reader, samples.items(name, np.array(rows))
            fit = reader.fit_items if name == "static" else reader.fit
            assert found[name] == fit(items)
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


@pytest.mark.parametrize(
    "spoil",
    [lambda text: re.sub(r"\d", "77", text, count=1), lambda text: text[:-9], lambda _: "[]"],
)
def test_changed_statistics_are_named_and_fitted_again(fitted, tmp_path, capsys, spoil):
    first, count = fitted()
    for path in (tmp_path / "cache" / "statistics").glob("*.json"):
        path.write_text(spoil(path.read_text()))
        capsys.readouterr()
        assert fitted() == (first, count)
        assert f"{path}: is not as it was written; it is made again" in capsys.readouterr().err


def test_records_that_read_alike_differ_by_their_files(tmp_path):
    headers = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        headers.append(folder / "ecg.hea")
        headers[-1].write_text("ecg 1 1 4\nsignal.bin 16\n")
        (folder / "signal.bin").write_bytes(bytes([number]) * 8)
    memory = tmp_path / "memory.json"
    first = remembered_sha256(stamps(headers, record_files).values(), memory)
    assert len(set(first.values())) == 2

    # A memory that rotted is no memory.
    memory.write_text(memory.read_text().replace("a", "b"))
    assert remembered_sha256(stamps(headers, record_files).values(), memory) == first

    (tmp_path / "0" / "signal.bin").write_bytes(b"changed!")
    changed = remembered_sha256(stamps(headers, record_files).values(), memory)
    assert len(set(changed.values()) - set(first.values())) == 1
