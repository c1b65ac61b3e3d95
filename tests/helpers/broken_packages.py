"""Packages that somebody changed: every file rewritten at will, the manifest made to agree."""

import json

import pytest
import yaml

from clintune.core.errors import PackageError
from clintune.core.files import file_sha256
from clintune.package.load import load_package


def sign(package):
    """Write the manifest anew, as one who means harm would."""
    files = [path for path in package.iterdir() if path.name != "MANIFEST.json"]
    (package / "MANIFEST.json").write_text(
        json.dumps({path.name: file_sha256(path) for path in files})
    )


def describe(package, change):
    """Change what a package says of itself."""
    about = yaml.safe_load((package / "clintune.yaml").read_text())
    change(about)
    (package / "clintune.yaml").write_text(yaml.safe_dump(about, sort_keys=False))
    sign(package)


def refusal(package, **options):
    """Return in which line a package is refused."""
    with pytest.raises(PackageError) as caught:
        load_package(package, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)
