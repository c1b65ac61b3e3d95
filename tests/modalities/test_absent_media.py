"""Why a media file is not there is said without any part of its path."""

from unicodedata import normalize

import pytest

from clintune.modalities.absent_media import why_absent


@pytest.mark.parametrize(
    ("there", "asked", "said"),
    [
        ("scans/A.png", "scans/a.PNG", "name differs in case"),
        ("Scans/a.png", "scans/a.png", "name differs in case"),
        (
            normalize("NFD", "scans/Jörg.png"),
            normalize("NFC", "scans/Jörg.png"),
            "name differs in case or accents",
        ),
        ("scans/a.png", "scans\\a.png", "write it with /"),
        ("scans/a.png", "scans", "is a folder; name the file in it"),
        ("scans/a.png", "scans/b.png", "missing; restore it or drop the row"),
        ("scans/a.png", "scans/a.png/b.png", "missing; restore it or drop the row"),
        ("scans/a.png", "scans/a.png ", "spaces around a name"),
        ("scans/a.png", " scans/a.png", "spaces around a name"),
        ("scans /a.png", "scans /b.png", "missing; restore it or drop the row"),
    ],
)
def test_the_cause_is_said(tmp_path, there, asked, said):
    (tmp_path / there).parent.mkdir()
    (tmp_path / there).touch()
    why = why_absent(tmp_path / asked)
    assert said in why
    assert "a.png" not in why
    assert tmp_path.name not in why


def test_a_row_without_a_path_is_said():
    assert why_absent(None).startswith("the row names no media file")


@pytest.mark.parametrize("asked", ["a.png", "scans/a.png"])
def test_a_link_that_leads_nowhere_is_said_to_be_one(tmp_path, asked):
    (tmp_path / asked.partition("/")[0]).symlink_to(tmp_path / "gone")
    assert why_absent(tmp_path / asked).startswith("the media file is a link that leads nowhere")
    assert why_absent(tmp_path / asked.upper()).startswith("the media file is missing; restore")
