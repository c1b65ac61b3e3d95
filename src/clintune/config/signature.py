"""Read the parameters of a `_target_` from its source text, so that a config is checked without importing torch."""

import ast
import builtins
import collections.abc
import importlib.util
import sys
import typing
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typeguard import CollectionCheckStrategy, ForwardRefPolicy, TypeCheckError, check_type

from clintune.config.suggest import in_words, nearest
from clintune.core.errors import ConfigError

_WORDS = {
    "None": "null",
    "bool": "true or false",
    "dict[str, Any]": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list[float]": "a list of numbers",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of texts",
    "str": "text",
}
"""What people call the types that annotations name."""
_TYPES: dict[str, Any] = {**vars(builtins), **vars(typing), **vars(collections.abc)}
"""What a name in an annotation means, where its module does not say."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a class or function: whether it must be given, and its annotation, evaluated and as written."""

    required: bool
    annotation: Any
    text: str

    def refuses(self, value: Any) -> str | None:
        """Return in words what the annotation wants, where `value` is not that; None where it fits."""
        try:
            check_type(
                value,
                self.annotation,
                forward_ref_policy=ForwardRefPolicy.IGNORE,
                collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
            )
        except TypeCheckError:
            choices = next(
                (
                    p
                    for p in (self.annotation, *get_args(self.annotation))
                    if get_origin(p) is Literal
                ),
                None,
            )
            if choices is not None:
                return in_words(get_args(choices))
            return in_words(
                _WORDS.get(part, part)
                for part in self.text.replace("Sequence[", "list[").split(" | ")
            )
        return None


@cache
def parameters(target: str) -> dict[str, Parameter]:
    """Return the parameters by name of the class or function that `target` names as `module.Name`.

    Raises ConfigError when there is no such module or name in it.
    """
    for tree, node in _lineage(target):
        if isinstance(node, ast.FunctionDef):
            return _arguments(tree, node.args, skip=0)
        init = next(
            (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None
        )
        if init is not None:
            return _arguments(tree, init.args, skip=1)
    return {}


def may_be(target: str, base: str) -> bool:
    """Return whether `target` may be a class below one named `base`, as far as texts tell; an import tells the rest.

    Raises ConfigError as `parameters` does.
    """
    nodes = [node for _, node in _lineage(target)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    if len(classes) < len(nodes):
        return False
    is_read = not classes[-1].bases and all(len(node.bases) < 2 for node in classes)
    return not (is_read or target.startswith("clintune.")) or any(
        node.name == base for node in classes
    )


def _lineage(target: str) -> Iterator[tuple[ast.Module, ast.ClassDef | ast.FunctionDef]]:
    """Yield the class or function `target` and the classes it derives from, each with its module.

    Of several bases the first that a module defines or imports by name counts. Raises ConfigError for a `target` that
    does not exist; a base whose text cannot be read ends the line.
    """
    module, _, name = target.rpartition(".")
    tree = _parse(module, target)
    node = _definition(tree, name)
    if node is None:
        names = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
        raise ConfigError(f"_target_ {target}: {module} has no {name}{nearest(name, names)}")
    yield tree, node

    bases = [base.id for base in getattr(node, "bases", []) if isinstance(base, ast.Name)]
    homes = (module if _definition(tree, base) else _imported_from(tree, base) for base in bases)
    above = next((f"{home}.{base}" for home, base in zip(homes, bases, strict=True) if home), None)
    if above is not None:
        with suppress(ConfigError):
            yield from _lineage(above)


@cache
def _parse(module: str, target: str) -> ast.Module:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # also where it names no module
        spec = None
    if not module:
        raise ConfigError(
            f"_target_ {target}: names no module; give the full path, as package.module.{target}"
        )
    is_read = spec is not None and (spec.origin or "").endswith(".py")
    if not is_read and module in sys.stdlib_module_names:
        raise ConfigError(
            f"_target_ {target}: {module} is of Python itself; name a class of clintune or your own"
        )
    if spec is None or spec.origin is None or not is_read:
        raise ConfigError(
            f"_target_ {target}: no Python module {module} is installed or beside the recipe; "
            "give the full path, as package.module.Name"
        )

    try:
        return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        raise ConfigError(
            f"_target_ {target}: {spec.origin}: {line}not Python ({error.args[0]}); correct it"
        ) from error


def _definition(tree: ast.Module, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    found = (
        n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name
    )
    return next(found, None)


def _imported_from(tree: ast.Module, name: str) -> str | None:
    imports = (n for n in tree.body if isinstance(n, ast.ImportFrom))
    return next(
        (n.module for n in imports if any((a.asname or a.name) == name for a in n.names)), None
    )


def _arguments(tree: ast.Module, arguments: ast.arguments, skip: int) -> dict[str, Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args][skip:]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [
        *zip(positional, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {
        argument.arg: Parameter(
            required=default is None,
            annotation=_annotation(tree, argument.annotation),
            text=ast.unparse(argument.annotation) if argument.annotation else "",
        )
        for argument, default in pairs
    }


def _annotation(tree: ast.Module, annotation: ast.expr | None) -> Any:
    """Return the type that an annotation means; Any where it is quoted, or an import would tell."""
    if annotation is None or isinstance(annotation, ast.Constant):
        return Any
    try:
        return _type(tree, annotation)
    except TypeError:  # as of `3[int]`
        return Any


def _type(tree: ast.Module, node: ast.expr) -> Any:
    """Return the type written as a name, `A | B` or `A[B, C]`; Any stands for what is not known."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return _TYPES[node.id] if node.id in _TYPES else _alias(tree, node.id)
    if isinstance(node, ast.BinOp):
        return _type(tree, node.left) | _type(tree, node.right)
    if isinstance(node, ast.Subscript):
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _type(tree, node.value)[tuple(_type(tree, part) for part in inside)]
    return Any


def _alias(tree: ast.Module, name: str) -> Any:
    """Return what a name like `Mode = Literal[...]` stands for in its module or the one it is imported from."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return _annotation(tree, node.value)
    home = _imported_from(tree, name)
    return (
        _alias(_parse(home, f"{home}.{name}"), name)
        if home and home.startswith("clintune.")
        else Any
    )
