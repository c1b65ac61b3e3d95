"""The description of a package (clintune.yaml), read as typed values within bounds.

docs/package.md has the schema.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from clintune.config.schema import Trainer
from clintune.core.errors import PackageError
from clintune.core.paths import check_name, check_part_name
from clintune.core.text import visible
from clintune.package.contents import ABOUT, SECTIONS
from clintune.package.origin import Origin
from clintune.package.plain import read_yaml
from clintune.package.short_text import in_short

FORMAT = 2
"""Number of the format, raised when an older clintune could not read what a newer one writes."""
MOST_PARTS = 64
"""Greatest number of modalities, or of tasks, of a package."""
_KEYS = ("format", "clintune", "seed", "precision", "composition", "weights", "statistics", "tasks")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"\d+\.\d+[\w.+-]{0,40}", re.ASCII)
_PRECISIONS = Trainer.__dataclass_fields__["precision"].metadata["choices"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The record of a task: its state, and the names of its outputs."""

    state: Mapping[str, Any]
    outputs: list[str]


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description of a package, each value of its type and within its bounds."""

    clintune: str
    seed: int
    precision: str
    composition: dict[str, Any]
    """The sections of a recipe that make the model.

    Their keys are checked where their classes are known.
    """
    weights: Mapping[str, Origin]
    statistics: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, Answer]


def read_description(folder: Path) -> Description:
    """Read the description of the package in `folder`.

    Raises PackageError for another format, a key too many or too few, a value of another type or
    out of bounds, and a name that could leave its folder.
    """
    # Check the format first: all else depends on it.
    path = folder / ABOUT
    about = read_yaml(path)
    if not isinstance(about, dict) or "format" not in about:
        _refuse(
            path,
            "has no `format`: another version of clintune wrote it; "
            "publish or train it anew with this one",
        )
    if about["format"] != FORMAT or isinstance(about["format"], bool):
        version = about.get("clintune")
        newer = f" ({version})" if isinstance(version, str) and _VERSION.fullmatch(version) else ""
        _refuse(
            path, f"is not of format {FORMAT}; use the version of clintune that wrote it{newer}"
        )

    # Then the keys, of all sections that name each part.
    _check_keys(path, about, _KEYS, "")
    composition = _composition(path, about["composition"])
    names, tasks = composition["modalities"].keys(), composition["tasks"].keys()
    weights, statistics, answers = (
        _mapping(path, about, key) for key in ("weights", "statistics", "tasks")
    )
    _check_keys(path, weights, ("backbone", *names), "weights.")
    _check_keys(path, statistics, tuple(names), "statistics.")
    _check_keys(path, answers, tuple(tasks), "tasks.")

    return Description(
        clintune=_text(path, about["clintune"], "clintune", _VERSION),
        seed=_seed(path, about["seed"]),
        precision=_choice(path, about["precision"], "precision", _PRECISIONS),
        composition=composition,
        weights={
            name: _origin(path, _mapping(path, weights, name), f"weights.{name}")
            for name in weights
        },
        statistics={name: _mapping(path, statistics, name) for name in statistics},
        tasks={
            name: _answer(path, _mapping(path, answers, name), f"tasks.{name}") for name in answers
        },
    )


def _composition(path: Path, composition: Any) -> dict[str, Any]:
    if not isinstance(composition, dict):
        _refuse(path, "composition is no mapping; do not use the package")
    _check_keys(path, composition, SECTIONS, "composition.")
    for section in SECTIONS[1:]:
        _mapping(path, composition, section)
    check_name(_text(path, composition["name"], "name"), f"{path}: name", PackageError, nested=True)

    # Names of parts become names of files, tensors and columns.
    for section in ("modalities", "tasks"):
        parts = composition[section]
        if not 1 <= len(parts) <= MOST_PARTS:
            _refuse(path, f"composition.{section} holds {len(parts)} parts; give 1 to {MOST_PARTS}")
        for name in parts:
            check_part_name(
                _text(path, name, section), f"{path}: a name in {section}", PackageError
            )
            _mapping(path, parts, name)

    # A label names a file.
    for task in composition["tasks"].values():
        label = _text(path, task.get("label", "label"), "label")
        check_name(label, f"{path}: label", PackageError, nested=True)
    _check_underscores(path, composition)
    return composition


def _check_underscores(path: Path, composition: dict[str, Any]) -> None:
    """Refuse keys that hydra or transformers would obey.

    Only `_target_` may stand in a part, and name its class.
    """
    # Walk through all mappings and lists.
    left: list[tuple[tuple[str, ...], Any]] = [((), composition)]
    while left:
        place, node = left.pop()
        if not isinstance(node, dict | list):
            continue

        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            here = (*place, str(key))
            of_part = key == "_target_" and len(here) == 3 and here[0] in ("modalities", "tasks")
            if str(key).startswith("_") and not of_part:
                _refuse(
                    path,
                    f"holds the key {'.'.join(here)}, which does not belong there; "
                    "do not use the package",
                )
            left.append((here, value))


def _origin(path: Path, record: Mapping[str, Any], where: str) -> Origin:
    _check_keys(
        path, record, ("source",), f"{where}.", ("revision", "sha256", "files", "tokenizer")
    )
    for key in ("source", "revision"):
        if record.get(key) is not None:
            _text(path, record[key], f"{where}.{key}")
    if record.get("sha256") is not None:
        _text(path, record["sha256"], f"{where}.sha256", _SHA256)

    # Each file is known by its checksum.
    files = _mapping(path, record, "files") if "files" in record else {}
    for name, digest in files.items():
        check_name(_text(path, name, f"{where}.files"), f"{path}: {where}.files", PackageError)
        _text(path, digest, f"{where}.files", _SHA256)

    # A tokenizer from elsewhere has an origin, too.
    tokenizer = _mapping(path, record, "tokenizer") if "tokenizer" in record else None
    if tokenizer is not None and "tokenizer" in tokenizer:
        _refuse(path, f"{where}.tokenizer has a tokenizer of its own; do not use the package")
    made = None if tokenizer is None else _origin(path, tokenizer, f"{where}.tokenizer")
    return Origin(**{**record, "files": files, "tokenizer": made})


def _answer(path: Path, record: Mapping[str, Any], where: str) -> Answer:
    _check_keys(path, record, ("state", "outputs"), f"{where}.")
    outputs = record["outputs"]
    if not isinstance(outputs, list) or not outputs or len(set(map(str, outputs))) != len(outputs):
        _refuse(path, f"{where}.outputs is no list of different names; do not use the package")
    for name in outputs:
        if visible(_text(path, name, f"{where}.outputs")) != name:
            _refuse(
                path,
                f"{where}.outputs holds a name with control characters; do not use the package",
            )
    return Answer(state=_mapping(path, record, "state"), outputs=outputs)


def _check_keys(
    path: Path,
    node: Mapping[str, Any],
    needed: tuple[str, ...],
    where: str,
    more: tuple[str, ...] = (),
) -> None:
    if missing := sorted(set(needed) - node.keys()):
        _refuse(path, f"lacks {where}{missing[0]}; publish or train it anew")
    if unknown := sorted(map(str, node.keys() - {*needed, *more})):
        _refuse(
            path,
            f"holds the unknown key {where}{unknown[0]}; use the version of clintune that wrote it",
        )


def _mapping(path: Path, node: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = node[key]
    if not isinstance(value, dict):
        _refuse(path, f"{key} is no mapping; do not use the package")
    return value


def _text(path: Path, value: Any, where: str, pattern: re.Pattern[str] | None = None) -> str:
    if (
        not isinstance(value, str)
        or len(value) > 1000
        or (pattern and not pattern.fullmatch(value))
    ):
        _refuse(path, f"{where} is not what clintune writes there; do not use the package")
    return value


def _choice(path: Path, value: Any, where: str, choices: tuple[Any, ...]) -> str:
    if value not in choices:
        _refuse(path, f"{where} is none of {', '.join(choices)}; do not use the package")
    return str(value)


def _seed(path: Path, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        _refuse(path, "seed is no whole number from 0 to 2^63; do not use the package")
    return value


def _refuse(path: Path, what: str) -> NoReturn:
    raise PackageError(in_short(f"{path}: {what}"))
