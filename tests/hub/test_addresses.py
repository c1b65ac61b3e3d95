"""Which hub an address means, its options, and that nothing goes to the Hub by a slip."""

import pytest

from clintune.core.errors import ConfigError
from clintune.hub.base import open_hub, source_of
from clintune.hub.folder import FolderHub, UrlHub
from clintune.hub.huggingface import HuggingFaceHub
from clintune.hub.mlflow import MLflowHub


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("hf://org/name", HuggingFaceHub),
        ("hf://org/name@v1", HuggingFaceHub),
        ("models:/name", MLflowHub),
        ("models:/name/3", MLflowHub),
        ("models:/name@champion", MLflowHub),
        ("s3://bucket/name", UrlHub),
        ("memory://name", UrlHub),
        ("org/name", FolderHub),
        ("/share/name", FolderHub),
        ("name", FolderHub),
    ],
)
def test_an_address_says_which_hub_is_meant(address, kind):
    assert type(open_hub(address)) is kind


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("hf://name", {}, "give hf://organisation/name"),
        ("hf://org/name/more", {}, "give hf://organisation/name"),
        ("hf://../name", {}, "give hf://organisation/name"),
        ("hf://org/name@v1", {"revision": "v2"}, "the address and revision=v2 differ"),
        ("models:/", {}, "give models:/name, models:/name/3 or models:/name@alias"),
        ("models:/name/Production", {}, "give models:/name, models:/name/3 or models:/name@alias"),
        ("models:/name", {"revision": "v1"}, "MLflow numbers versions"),
        ("models:/name", {"public": True}, "public is an option of hf:// alone"),
        ("s3://bucket/name", {"tag": "v1"}, "put the version into the path"),
        ("share/name", {"revision": "v1"}, "put the version into the path"),
        ("share/name", {"public": True}, "public is an option of hf:// alone"),
    ],
)
def test_an_option_that_a_hub_has_not_is_refused(address, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        open_hub(address, **options)
    assert str(caught.value).startswith(f"hub {address}: ")


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("hf:/org/name", "hf://org/name"),
        ("hf:org/name", "hf://org/name"),
        ("s3:/bucket/x", "s3://bucket/x"),
    ],
)
def test_an_address_with_too_few_slashes_is_no_folder(address, meant):
    with pytest.raises(ConfigError, match=f"write {meant}, or ./{address} for a folder"):
        open_hub(address)
    assert type(open_hub(f"./{address}")) is FolderHub


def test_org_name_is_loaded_from_the_hub_unless_it_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert source_of("org/name") == "hf://org/name"
    assert source_of("org/name@v1") == "hf://org/name@v1"

    (tmp_path / "org" / "name").mkdir(parents=True)
    assert source_of("org/name") == "org/name"
    for other in (
        "name",
        "../name",
        "./org/other",
        "/org/other",
        "~/other",
        "a/b/c",
        "models:/m",
        "s3://b/m",
        "hf://o/m",
    ):
        assert source_of(other) == other
