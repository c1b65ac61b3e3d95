"""What is a patient's is found in any spelling; what is known to be computed is no one's."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from clintune.contracts import Item
from clintune.core.errors import PackageError
from clintune.package.manifest import write_manifest
from clintune.publishing.privacy.computed import checksums
from clintune.publishing.privacy.fragments import stray, written
from clintune.publishing.privacy.leaks import Search

LOOKS = {
    "decimal": "12345.678901",
    "uid": "1.2.840.113619.2.55.3.604688119",
    "md5": "d41d8cd98f00b204e9800998ecf8427e",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}


def note(text):
    return Item(hours=0.0, code="NOTE", where="data: row 7", text=text)


def media(name):
    return Item(hours=0.0, code="IMAGE", where="data: row 7", path=Path("images") / name)


def search_in(folder):
    """Return a search of the files of a folder, as that of a release."""
    write_manifest(folder)
    files = {path.name: path for path in folder.iterdir()}
    known = checksums(folder)
    return Search(
        {n: written(p, known) for n, p in files.items()}, {n: stray(p) for n, p in files.items()}
    )


def is_found(search, item=None, code=None, ids=None):
    """Return whether a search finds an item, a code or ids."""
    try:
        if item is not None:
            search.look_for(1, item)
        if code is not None:
            search.look_for_code(code, 1, "data: row 7")
        if ids is not None:
            search.look_for_subjects(np.array(ids))
        search.refuse()
    except PackageError:
        return True
    return False


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("hide", ["card.md", "a.json", "a.yaml", "parts.safetensors"])
def test_what_looks_like_a_decimal_or_checksum_is_found(look, hide, tmp_path):
    secret = LOOKS[look]
    write = {
        "card.md": lambda path: path.write_text(f"Not for {secret}.\n"),
        "a.json": lambda path: path.write_text(
            json.dumps({"reasons": [f"as in {secret}"], "slope": 0.5})
        ),
        "a.yaml": lambda path: path.write_text(f"a: 1.5\nb: ['{secret}']\n"),
        "parts.safetensors": lambda path: save_file({f"w.{secret}": torch.zeros(2)}, path),
    }
    write[hide](tmp_path / hide)
    assert is_found(search_in(tmp_path), item=note(f"Seen, {secret}, well."))
    assert is_found(search_in(tmp_path), code=f"DEVICE//{secret}")
    assert is_found(search_in(tmp_path), item=media(f"{secret}.png"))
    assert is_found(search_in(tmp_path), item=media(secret))


def test_listed_decimals_and_checksums_are_no_ones(tmp_path):
    (tmp_path / "a.json").write_text(
        json.dumps({"slope": 12345.678901, "small": -1.2345678901e-05})
    )
    (tmp_path / "clintune.yaml").write_text(
        f"statistics: {{mean: [12345.678901]}}\nweights:\n"
        f"  backbone: {{source: org/x, sha256: {LOOKS['sha256']}}}\n"
    )
    (tmp_path / "README.md").write_text(f"weights of backbone, sha256 {LOOKS['sha256']}")
    write_manifest(tmp_path)
    listed = json.loads((tmp_path / "MANIFEST.json").read_text())["a.json"]
    text = f"12345.678901 and 1.2345678901e-05 and {LOOKS['sha256']} and {listed}"
    assert not is_found(search_in(tmp_path), item=note(text))
    assert not is_found(search_in(tmp_path), ids=[678901, 12345678901])


def test_a_string_of_digits_is_no_number_of_json_or_yaml(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"slope": 0.5, "12345.678901": "0.5"}))
    assert is_found(search_in(tmp_path), item=note("no 12345.678901"))
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.yaml").write_text("'12345.678901': 0.5\n")
    assert is_found(search_in(tmp_path), item=note("no 12345.678901"))


SPELLINGS = {
    "full width": ("MRN ５５３１００９７", "MRN 55310097"),
    "dashes": ("55-31-00-97", "55310097"),
    "dots": ("55.31.00.97", "55310097"),
    "non-breaking": ("5531‑0097", "55310097"),
    "within more": ("2-55310097", "MRN 55310097"),
    "spaces": ("030 555 31009", "030-55531009"),
    "entities": ("A17&#95;0042&#95;9", "A17_0042_9"),
    "parted letters": (unicodedata.normalize("NFD", "müller1951777"), "Müller1951777"),
    "soft hyphen": ("A17-00\u00ad42-9b", "A17-0042-9b"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("turned", [False, True])
def test_another_spelling_is_found_on_either_side(spelling, turned, tmp_path):
    shown, noted = (
        SPELLINGS[spelling]
        if not turned or spelling == "within more"
        else SPELLINGS[spelling][::-1]
    )
    (tmp_path / "README.md").write_text(f"For research, {shown}, only.\n")
    assert is_found(search_in(tmp_path), item=note(f"seen, {noted}, well"))


def test_names_of_media_are_found_as_a_card_escapes_them(tmp_path):
    (tmp_path / "README.md").write_text("| mueller&#95;anna&#95;1951 | 5531&#45;0097 |")
    assert is_found(search_in(tmp_path), item=media("Mueller_Anna_1951.dcm"))
    assert is_found(search_in(tmp_path), code="POLICY//55310097")


def test_numbers_of_codes_that_many_have_are_no_ones(tmp_path):
    (tmp_path / "README.md").write_text("Knows 00093-0058-01.")
    search = search_in(tmp_path)
    search.pass_over(["NDC//00093-0058-01"])
    assert not is_found(search, code="NDC//00093005801")


@pytest.mark.parametrize(
    ("shown", "subject"),
    [
        ("12,345,678", 12345678),
        ("12'345'678", 12345678),
        ("-1234567", -1234567),
        ("00000000012345678901", 12345678901),
        ("7240657284785733855", 7240657284785733855),
        ("subject_123456", 123456),
    ],
)
def test_subject_ids_are_found_with_signs_zeros_and_thousands(shown, subject, tmp_path):
    (tmp_path / "README.md").write_text(f"for {shown}.")
    assert is_found(search_in(tmp_path), ids=[subject])


def test_counts_decimals_and_versions_of_a_card_are_no_ids(tmp_path):
    (tmp_path / "README.md").write_text(
        "| samples | 123,456 | 1,234,567 |\n| 0.1234567 | 0.912 (0.812 to 0.934) |\n"
        "Python 3.12.4, torch 2.10.0\n"
    )
    assert not is_found(search_in(tmp_path), ids=[123456, 1234567, 3124210, 91208120934])
    assert not is_found(search_in(tmp_path), item=note("12345678, 31242100, 0912 0812 0934"))


@given(st.text(st.sampled_from("5310-. /,"), min_size=1, max_size=40))
def test_the_digits_of_a_number_are_found_within_any_signs(around):
    card = f"{around} 5531-0097"
    assert is_found(
        Search({"a.md": " ".join(card.split())}, {"a.md": ""}), item=note("x 55310097 y")
    )
