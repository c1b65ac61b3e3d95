"""Read the parameters of a `_target_` from its source text, so that a config is checked without importing torch."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError


@cache
def parameters(target: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return (all, required) parameter names of the class or function that `target` names as `module.Name`.

    Raises ConfigError when there is no such module or name in it.
    """
    module, _, name = target.rpartition(".")
    tree = _parse(module, target)
    node = _definition(tree, name)
    if node is None:
        names = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
        raise ConfigError(f"_target_ {target}: {module} has no {name}{nearest(name, names)}")
    if isinstance(node, ast.FunctionDef):
        return _arguments(node.args, skip=0)
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return _arguments(init.args, skip=1)
    for base in (base.id for base in node.bases if isinstance(base, ast.Name)):
        home = module if _definition(tree, base) else _imported_from(tree, base)
        if home:
            return parameters(f"{home}.{base}")
    return frozenset(), frozenset()


def _parse(module: str, target: str) -> ast.Module:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise ConfigError(f"_target_ {target}: no module named {module}; give the full path, as in package.module.Name")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _definition(tree: ast.Module, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    found = (n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name)
    return next(found, None)


def _imported_from(tree: ast.Module, name: str) -> str | None:
    imports = (n for n in tree.body if isinstance(n, ast.ImportFrom))
    return next((n.module for n in imports if any((a.asname or a.name) == name for a in n.names)), None)


def _arguments(arguments: ast.arguments, skip: int) -> tuple[frozenset[str], frozenset[str]]:
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)][skip:]
    optional = set(positional[len(positional) - len(arguments.defaults) :] if arguments.defaults else [])
    keyword = [a.arg for a in arguments.kwonlyargs]
    optional |= {k for k, default in zip(keyword, arguments.kw_defaults, strict=True) if default is not None}
    names = frozenset(positional + keyword)
    return names, names - optional
