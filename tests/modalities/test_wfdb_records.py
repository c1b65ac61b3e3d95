"""WFDB records of bedside monitors: several rates, nameless signals, segments, missing parts."""

import numpy as np
import pytest

from clintune.core.errors import DataError
from clintune.modalities.signals.files import read_signal

WHERE = "signals.parquet row 2"


def save(folder, name, header, **signals):
    """Write a header and int16 signal files."""
    (folder / f"{name}.hea").write_text(header)
    for file, values in signals.items():
        (folder / f"{file}.dat").write_bytes(np.asarray(values).astype("<i2").tobytes())
    return folder / f"{name}.hea"


def test_signals_of_several_rates_keep_their_values(tmp_path):
    seconds = np.arange(240 * 4) / 240
    ecg = np.round(1000 * np.sin(2 * np.pi * 15 * seconds))
    frames = np.concatenate([ecg.reshape(60, 16), np.full((60, 1), 72)], axis=1)
    header = "r 2 15 60\nr.dat 16x16 1000/mV 16 0 0 0 0 ECG\nr.dat 16 1/bpm 16 0 0 0 0 PULSE\n"
    found = read_signal(save(tmp_path, "r", header, r=frames), WHERE)
    assert (found.channels, found.rate_hz) == (["ECG", "PULSE"], 240.0)
    np.testing.assert_allclose(found.values[0], ecg / 1000, atol=1e-6)
    np.testing.assert_allclose(found.values[1], 72)


def test_signals_without_names_are_called_after_their_places(tmp_path):
    header = (
        "r 3 1 4\nr.dat 16 100/mV 16 0 0 0 0\nr.dat 16 100/mV 16 0 0 0 0 II\n"
        "r.dat 16 100/mV 16 0 0 0 0\n"
    )
    assert read_signal(save(tmp_path, "r", header, r=np.ones((4, 3))), WHERE).channels == [
        "signal 0",
        "II",
        "signal 2",
    ]


def test_a_signal_file_may_have_any_name(tmp_path):
    header = "r 1 1 4\nother.dat 16 1/mV 16 0 0 0 0 II\n"
    found = read_signal(save(tmp_path, "r", header, other=[1, 2, 3, 4]), WHERE)
    np.testing.assert_allclose(found.values, [[1, 2, 3, 4]])


def test_segments_stand_one_after_the_other_with_their_gap(tmp_path):
    for name, values in (("a", [1, 2, 3]), ("b", [7, 8])):
        save(
            tmp_path,
            name,
            f"{name} 1 1 {len(values)}\n{name}.dat 16 1/mV 16 0 0 0 0 II\n",
            **{name: values},
        )
    save(tmp_path, "layout", "layout 1 1 0\n~ 0 1/mV 16 0 0 0 0 II\n")
    found = read_signal(save(tmp_path, "r", "r/4 1 1 9\nlayout 0\na 3\n~ 4\nb 2\n"), WHERE)
    np.testing.assert_allclose(found.values, [[1, 2, 3, *[np.nan] * 4, 7, 8]])


def segments(folder, *lines, layout=False):
    """Write a record of two segments, each with a signal line and a rate."""
    for name, (rate, line) in zip("ab", lines, strict=True):
        save(folder, name, f"{name} 1 {rate} 3\n{name}.dat 16 {line}\n", **{name: [1, 2, 3]})
    save(folder, "layout", f"layout 1 1 0\n~ 0 {lines[0][1]}\n")
    return save(folder, "r", f"r/{2 + layout} 1 1 6\n" + "layout 0\n" * layout + "a 3\nb 3\n")


@pytest.mark.parametrize("layout", [False, True])
def test_segments_of_one_kind_are_read_as_wfdb_reads_them(tmp_path, layout):
    path = segments(tmp_path, (1, "1/mV 16 0 0 0 0 II"), (1, "2/mV 16 0 0 0 0 II"), layout=layout)
    found = read_signal(path, WHERE).values  # which imports wfdb without its warnings
    import wfdb

    expected = wfdb.rdrecord(str(path.with_suffix(""))).p_signal.T
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(expected, [[1, 2, 3, 0.5, 1, 1.5]])


@pytest.mark.parametrize(
    ("second", "layout", "said"),
    [
        ((1, "1/mV 16 0 0 0 0 ABP"), False, "segments of several channels"),
        ((2, "1/mV 16 0 0 0 0 II"), False, "segments of several rates"),
        ((2, "1/mV 16 0 0 0 0 II"), True, "segments of several rates"),
        ((1, "1/uV 16 0 0 0 0 II"), False, "a channel in several units"),
        ((1, "1/uV 16 0 0 0 0 II"), True, "a channel in several units"),
    ],
)
def test_segments_that_do_not_follow_each_other_are_refused(tmp_path, second, layout, said):
    path = segments(tmp_path, (1, "1/mV 16 0 0 0 0 II"), second, layout=layout)
    with pytest.raises(DataError, match=rf"^signals\.parquet row 2: the recording has {said}"):
        read_signal(path, WHERE)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "r 1 1 4\nlost.dat 16 1/mV 16 0 0 0 0 II\n",
            "a file that the recording's header names is missing",
        ),
        ("r/1 1 1 4\nlost 4\n", "a file that the recording's header names is missing"),
        ("r 1 1 4\n../r.dat 16 1/mV 16 0 0 0 0 II\n", "names a file outside its folder"),
        ("r 1 1 4\n/etc/passwd 16 1/mV 16 0 0 0 0 II\n", "names a file outside its folder"),
        ("r 0 1 4\n", "names no signal"),
        ("", "cannot be read|names no signal"),
    ],
)
def test_a_record_that_lacks_or_leaves_its_files_is_refused(tmp_path, header, said):
    (tmp_path / "in").mkdir()
    save(tmp_path, "other", "", r=[1, 2, 3, 4])
    with pytest.raises(DataError, match=rf"^signals\.parquet row 2: .*({said})"):
        read_signal(save(tmp_path / "in", "r", header), WHERE)
