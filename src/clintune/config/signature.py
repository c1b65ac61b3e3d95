"""Read the parameters of a `_target_` from its source text.

So a config is checked without importing torch.
"""

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
"""Words for the types that annotations name."""
_TYPES: dict[str, Any] = {**vars(builtins), **vars(typing), **vars(collections.abc)}
"""Meaning of the names in annotations that their module does not define."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a class or function: whether it is required, and its annotation.

    `annotation` is the evaluated type, `text` the annotation as it is written.
    """

    required: bool
    annotation: Any
    text: str

    def refuses(self, value: Any) -> str | None:
        """Return in words what the annotation wants if `value` does not fit; None if it fits."""
        try:
            check_type(
                value,
                self.annotation,
                forward_ref_policy=ForwardRefPolicy.IGNORE,
                collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
            )
        except TypeCheckError:
            return self._wanted()
        return None

    def _wanted(self) -> str:
        """Return in words what the annotation wants: its choices, or its types."""
        for part in (self.annotation, *get_args(self.annotation)):
            if get_origin(part) is Literal:
                return in_words(get_args(part))
        kinds = self.text.replace("Sequence[", "list[").split(" | ")
        return in_words(_WORDS.get(kind, kind) for kind in kinds)


@cache
def parameters(target: str) -> dict[str, Parameter]:
    """Return the parameters, by name, of the class or function `target`, as in `module.Name`.

    Raises ConfigError if there is no such module, or no such name in it.
    """
    for tree, node in _lineage(target):
        if isinstance(node, ast.FunctionDef):
            return _arguments(tree, node.args, skip=0)

        methods = (n for n in node.body if isinstance(n, ast.FunctionDef))
        init = next((method for method in methods if method.name == "__init__"), None)
        if init is not None:
            return _arguments(tree, init.args, skip=1)
    return {}


def may_be(target: str, base: str) -> bool:
    """Return whether `target` may be a class that derives from one named `base`.

    Source texts decide as far as they can; an import decides the rest. Raises ConfigError as
    `parameters` does.
    """
    nodes = [node for _, node in _lineage(target)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    if len(classes) < len(nodes):
        return False

    # All bases were read if the last class has none and no class has several.
    is_read = not classes[-1].bases and all(len(node.bases) < 2 for node in classes)
    return not (is_read or target.startswith("clintune.")) or any(
        node.name == base for node in classes
    )


def _lineage(target: str) -> Iterator[tuple[ast.Module, ast.ClassDef | ast.FunctionDef]]:
    """Yield the class or function `target` and the classes it derives from, each with its module.

    Of several bases, the first counts that a module defines or imports by name. Raises ConfigError
    for a `target` that does not exist. A base whose text cannot be read ends the line.
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
    except (ImportError, ValueError):  # also for an empty name
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
    for node in (n for n in tree.body if isinstance(n, ast.ImportFrom)):
        if name in [alias.asname or alias.name for alias in node.names]:
            return node.module
    return None


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
    """Return the type that an annotation means; Any if it is quoted, or only an import can tell."""
    if annotation is None or isinstance(annotation, ast.Constant):
        return Any
    try:
        return _type(tree, annotation)
    except TypeError:  # for example of `3[int]`
        return Any


def _type(tree: ast.Module, node: ast.expr) -> Any:
    """Return the type written as a name, `A | B` or `A[B, C]`; Any stands for an unknown one."""
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
    """Return what a name like `Mode = Literal[...]` stands for.

    Its module defines it, or imports it from another module of clintune.
    """
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if name in names:
                return _annotation(tree, node.value)

    home = _imported_from(tree, name)
    if home and home.startswith("clintune."):
        return _alias(_parse(home, f"{home}.{name}"), name)
    return Any
