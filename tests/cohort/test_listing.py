"""Folders of a cohort: every file is found, and what hides one is named."""

import pytest

from clintune.cohort.listing import files_below, list_tables, tables_below
from clintune.core.errors import DataError


def test_tables_are_found_through_links_and_loops(tmp_path):
    disk, data = tmp_path / "disk", tmp_path / "data"
    for name in (
        disk / "deep/2.parquet",
        data / "0.parquet",
        data / "notes.txt",
        data / "folder.parquet/1.parquet",
    ):
        name.parent.mkdir(parents=True, exist_ok=True)
        name.touch()
    (data / "linked").symlink_to(disk)
    (disk / "back").symlink_to(data)
    (data / "itself").symlink_to(".")
    (data / "other.parquet").symlink_to(disk / "deep/2.parquet")
    found = [path.relative_to(data).as_posix() for path in tables_below(data)]
    assert found == [
        "0.parquet",
        "folder.parquet/1.parquet",
        "linked/deep/2.parquet",
        "other.parquet",
    ]
    assert tables_below(tmp_path / "nowhere") == []


def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "lost").symlink_to(tmp_path / "unmounted")
    with pytest.raises(
        DataError, match="lost: is a link that leads nowhere; mount its disk, or remove the link"
    ):
        files_below(tmp_path)


def test_all_that_is_hidden_is_listed_and_the_first_is_raised(tmp_path):
    for name in ("1.parquet", "2.csv", "3.pq", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "lost").symlink_to(tmp_path / "unmounted")
    files, problems = list_tables(tmp_path)
    assert files == [tmp_path / "1.parquet"]
    assert [problem.where for problem in problems] == [
        str(tmp_path / name) for name in ("lost", "2.csv", "3.pq")
    ]
    with pytest.raises(DataError) as error:
        tables_below(tmp_path)
    assert str(error.value) == str(problems[0])
