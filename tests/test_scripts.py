"""The scripts import what there is: no type checker reads them."""

import ast
import importlib
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
SCRIPTS = HOUSE / "scripts"


def programs():
    """Yield each script that is Python, with or without the ending."""
    for path in sorted(SCRIPTS.rglob("*")):
        if path.suffix == ".py":
            yield path
        elif path.is_file() and not path.suffix:
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            if first.startswith("#!") and "python" in first:
                yield path


@pytest.mark.parametrize("path", list(programs()), ids=lambda path: str(path.relative_to(SCRIPTS)))
def test_a_script_imports_names_that_exist(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clintune"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                known = hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
                assert known, f"{node.module} has no {alias.name}"


def test_scripts_install_extras_that_exist():
    known = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    for path in filter(Path.is_file, SCRIPTS.iterdir()):
        for named in re.findall(r'scripts/venv"? ([a-z,]+)$', path.read_text(), re.MULTILINE):
            lacking = set(named.split(",")) - known["optional-dependencies"].keys()
            assert not lacking, f"{path.name} names the extras {lacking}"
