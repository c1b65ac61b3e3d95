"""Names become paths that stay where they belong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clintune.core.errors import ConfigError, PackageError
from clintune.core.paths import check_name, inside


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "/etc/x",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a\\b",
        "a\x00b",
        "a\nb",
        "a\u202eb",
        "x" * 201,
    ],
)
def test_a_name_that_leaves_its_folder_or_hides_is_refused(name):
    with pytest.raises(PackageError, match=r"^task .*use another name$"):
        inside(Path("root"), name, "task", PackageError)


@pytest.mark.parametrize("name", ["y", "mortality/icu", "a..b", "größe", "a b", "out[24h]", "x*?"])
def test_a_name_that_stays_inside_is_joined(name):
    assert inside(Path("root"), name, "label") == Path("root") / name


@pytest.mark.parametrize("name", [".x", "a/.b", "..x", ".x.abc.partial"])
def test_a_name_that_hides_a_file_is_refused(name):
    with pytest.raises(ConfigError, match="begins with a dot"):
        inside(Path("root"), name, "task")
    assert check_name(name, "file", nested=True, hidden=True) == name


def test_a_slash_is_refused_where_names_are_not_nested():
    with pytest.raises(ConfigError, match="holds a slash"):
        check_name("a/b", "task")


@given(st.text())
def test_whatever_passes_stays_below_the_root(name):
    try:
        path = inside(Path("/root"), name, "label")
    except ConfigError:
        return
    assert path.resolve().is_relative_to("/root")
    assert path.resolve() != Path("/root")
