"""Analyses that a recipe may name: clintune's own files, or modules beside it.

No torch here.
"""

import ast
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from omegaconf import OmegaConf

import clintune
from clintune.config.modules import beside, use_modules
from clintune.config.places import config_root
from clintune.config.suggest import nearest
from clintune.core.problems import raise_all

_FOLDER = Path(clintune.__file__).parent / "evaluation" / "analyses"
_NEEDED = {"run", "section"}


def shipped_analyses() -> list[str]:
    """Return the names of clintune's own analyses; each file in their folder is one."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")


def default_analyses() -> list[str]:
    """Return the analyses of `base.yaml`, for a run that is older than the key."""
    base = OmegaConf.load(config_root() / "configs" / "base.yaml")
    return [str(name) for name in base.evaluation]


def module_of(name: str) -> str:
    """Return the name of the module that holds an analysis."""
    is_ours = "." not in name and (_FOLDER / f"{name}.py").is_file()
    return f"clintune.evaluation.analyses.{name}" if is_ours else name


def find_analyses(names: Sequence[str], verb: str) -> None:
    """Find analyses of a run, also in the working directory; ConfigError for what is none."""
    use_modules(beside(names, Path.cwd()))
    raise_all(verb, list(analysis_problems(names)))


def analysis_problems(names: Sequence[str] | None) -> Iterator[str]:
    """Yield a problem for each name that is no analysis."""
    for name in names or ():
        path = _source(name)
        if path is None:
            known = shipped_analyses()
            yield f"'evaluation': {name!r} is no analysis{nearest(name, known)}"
            continue

        try:
            lacking = _NEEDED - _functions(path)
        except SyntaxError as error:
            where = f"'evaluation': {path.name}:{error.lineno}"
            yield f"{where}: not Python ({error.msg}); correct it"
            continue
        if lacking:
            words = " and ".join(sorted(lacking))
            yield f"'evaluation': {path.name} is no analysis; it lacks {words}"


def _source(name: str) -> Path | None:
    """Return the file of an analysis; None if no module has its name."""
    module = module_of(name)
    if module != name:
        return _FOLDER / f"{name}.py"
    try:
        found = find_spec(module)
    except (ImportError, ValueError):  # its package does not exist, or its name cannot be one
        return None
    return None if found is None or found.origin is None else Path(found.origin)


def _functions(path: Path) -> set[str]:
    if path.suffix != ".py":
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
