import os

import pytest
from omegaconf import OmegaConf

from clintune.cohort.source import ensure_cohort
from clintune.config.schema import Cohort
from clintune.core.errors import DataError

calls = []


def write_made_up(root, raw=None, size=1):
    calls.append(size)
    root.mkdir()
    (root / "size").write_text(str(size))
    if raw is not None:
        (root / "copy").write_text((raw / "table.csv").read_text())


def break_off(root):
    root.mkdir()
    (root / "half").touch()
    raise DataError("raw: row 3: column age is not a number")


def cohort(root, function="write_made_up", **settings):
    source = OmegaConf.create({"_target_": f"{__name__}.{function}", **settings})
    return Cohort(root=str(root), source=source)


@pytest.fixture(autouse=True)
def forget_calls():
    calls.clear()


def test_a_cohort_is_written_once_and_again_when_settings_change(tmp_path):
    root = tmp_path / "cohorts/made_up"
    assert ensure_cohort("made_up", cohort(root, size=2)) == root
    ensure_cohort("made_up", cohort(root, size=2))
    assert calls == [2]
    ensure_cohort("made_up", cohort(root, size=3))
    assert calls == [2, 3]
    assert (root / "size").read_text() == "3"


def test_a_changed_raw_file_writes_it_again(tmp_path):
    raw, root = tmp_path / "raw", tmp_path / "cohort"
    raw.mkdir()
    for text in ("a", "bb"):
        (raw / "table.csv").write_text(text)
        ensure_cohort("made_up", cohort(root, raw=str(raw)))
        assert (root / "copy").read_text() == text
    (raw / "table.csv").unlink()
    raw.rmdir()
    ensure_cohort("made_up", cohort(root, raw=str(raw)))
    assert len(calls) == 2


def write_from_file(root, raw):
    calls.append(raw)
    root.mkdir()
    (root / "copy").write_text(raw.read_text())


def test_a_changed_raw_file_and_one_behind_a_link_are_inputs(tmp_path):
    export, root = tmp_path / "export[1].csv", tmp_path / "cohort"
    for text in ("50", "99"):  # of one size
        export.write_text(text)
        os.utime(export, (10**9, 10**9))
        for _ in range(2):
            ensure_cohort("made_up", cohort(root, "write_from_file", raw=str(export)))
        assert (root / "copy").read_text() == text
    assert len(calls) == 2

    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    for text in ("a", "bb"):
        (folder / "table.csv").write_text("same")
        os.utime(folder / "table.csv", (10**9, 10**9))
        (tmp_path / "disk/more.csv").write_text(text)
        before = len(calls)
        ensure_cohort("made_up", cohort(tmp_path / "other", raw=str(folder)))
        assert len(calls) == before + 1
    export.unlink()
    ensure_cohort("made_up", cohort(root, "write_from_file", raw=str(export)))
    assert len(calls) == 4


def test_files_that_no_source_wrote_are_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious").write_text("kept")
    with pytest.raises(DataError, match=r"cohorts\.made_up\.root: .* holds files no source wrote"):
        ensure_cohort("made_up", cohort(tmp_path / "mine"))
    assert (tmp_path / "mine/precious").read_text() == "kept"


def test_a_source_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(DataError, match="row 3"):
        ensure_cohort("made_up", cohort(tmp_path / "new", "break_off"))
    assert not (tmp_path / "new").exists()
    ensure_cohort("made_up", cohort(tmp_path / "old"))
    with pytest.raises(DataError, match="row 3"):
        ensure_cohort("made_up", cohort(tmp_path / "old", "break_off"))
    assert (tmp_path / "old/size").read_text() == "1"


def test_a_root_without_source_must_be_there(tmp_path):
    assert ensure_cohort("mine", Cohort(root=str(tmp_path))) == tmp_path
    with pytest.raises(DataError, match=r"cohorts\.mine\.root: .*nowhere is not a folder"):
        ensure_cohort("mine", Cohort(root=str(tmp_path / "nowhere")))
