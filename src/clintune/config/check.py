"""Check a composed config: every key is known, every needed one is given, every value fits. No torch here."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from math import inf
from typing import Any, get_args, get_origin

from omegaconf import DictConfig, OmegaConf

from clintune.config.schema import Config, Scoring
from clintune.config.signature import parameters
from clintune.config.suggest import in_words, nearest
from clintune.core.errors import ConfigError
from clintune.core.remote import has_secret, is_remote, redact

PARTS = ("modalities", "tasks")
"""Sections whose entries must each name a class with `_target_`."""
_SECRET = re.compile("key|secret|token|passw|pwd|credential|connection_string|auth", re.IGNORECASE)
_INSTEAD = "set it in the environment (AWS_ACCESS_KEY_ID and such) or the protocol's own file (~/.aws, ~/.netrc)"
RUNTIME = frozenset({"root", "folder", "name", "settings"})
"""Parameters that clintune passes itself: the root a cohort is written to, what a tracker is told of its run."""


def check_config(config: DictConfig, where: str) -> None:
    """Raise one ConfigError that names every key that is missing, unknown or of no effect, and every wrong value."""
    plain = _plain(config)
    problems = [
        *_missing(plain),
        *_parts(plain),
        *_secrets(plain),
        *_targets(plain),
        *_values(Config, plain),
        *_together(plain),
        *_place(plain["cluster"]),
    ]
    _refuse(where, problems)


def check_scoring(config: DictConfig, where: str) -> None:
    """Raise one ConfigError that names every key of a scoring job that is missing, unknown, or has a wrong value."""
    plain = _plain(config)
    problems = [
        *_missing(plain),
        *_secrets(plain),
        *_targets(plain),
        *_values(Scoring, plain),
        *_place(plain["cluster"]),
    ]
    if len(plain["cohorts"]) != 1:
        problems.append("'cohorts' is more than one; score them one by one")
    _refuse(where, problems)


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)  # type: ignore[return-value]


def _refuse(where: str, problems: list[str]) -> None:
    if problems:
        raise ConfigError(f"{where}: " + "; and ".join(problems))


def _missing(node: Any, path: str = "") -> Iterator[str]:
    """Yield each key that still must be given."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _missing(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _missing(value, f"{path}[{index}]")
    elif node == "???":
        yield f"'{path}' must be given (add {path}=VALUE)"


def _parts(config: dict[str, Any]) -> Iterator[str]:
    for section in PARTS:
        if not config[section]:
            yield f"'{section}' is empty; choose at least one"
        for name, part in config[section].items():
            if not isinstance(part, dict) or "_target_" not in part:
                yield f"'{section}.{name}' is tuned but not chosen (no _target_); add it to the defaults, or drop it"
    if not config["cohorts"]:
        yield "'cohorts' is empty; choose at least one"


def _secrets(config: dict[str, Any]) -> Iterator[str]:
    """Yield what may be a secret of a cohort's storage: recipes are kept in run folders and shown."""
    for name, cohort in config["cohorts"].items():
        where = f"cohorts.{name}"
        if is_remote(str(cohort["root"])) and has_secret(cohort["root"]):
            yield f"'{where}.root' holds a password or a query; write {redact(cohort['root'])} and {_INSTEAD}"
        storage = cohort["storage"] or {}
        if not isinstance(storage, dict):
            yield f"'{where}.storage' is {storage!r}; give a mapping, as {{endpoint_url: https://minio.example}}"
            continue
        for key in _secret_keys(storage):
            yield f"'{where}.storage.{key}' looks like a secret, which would be kept in recipe.yaml; {_INSTEAD}"


def _secret_keys(storage: dict[str, Any]) -> Iterator[str]:
    """Yield the keys, however deep, whose name or value may be a secret."""
    for key, value in storage.items():
        if isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in _secret_keys(value))
        named = _SECRET.search(str(key)) and not (value is None or isinstance(value, bool) or value == "anon")
        if named or (isinstance(value, str) and is_remote(value) and has_secret(value)):
            yield str(key)


def _targets(node: Any, path: str = "") -> Iterator[str]:
    """Yield what is wrong below each `_target_`: keys that the class does not take or lacks, values that misfit."""
    if isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    if isinstance(node.get("_target_"), str):
        yield from _part(node, path)
    for key, value in node.items():
        yield from _targets(value, f"{path}.{key}" if path else str(key))


def _part(part: dict[str, Any], path: str) -> Iterator[str]:
    try:
        known = parameters(part["_target_"])
    except ConfigError as error:
        yield f"'{path}': {error}"
        return
    given = {str(key): value for key, value in part.items() if not str(key).startswith("_")}
    for key in sorted(given.keys() - known.keys()):
        yield f"'{path}.{key}' is not a key of {part['_target_'].rpartition('.')[2]}{nearest(key, known)}"
    needed = {name for name, parameter in known.items() if parameter.required}
    for key in sorted(needed - given.keys() - RUNTIME):
        yield f"'{path}.{key}' must be given (add {path}.{key}=VALUE)"
    for key in sorted(given.keys() & known.keys()):
        if given[key] != "???" and (wanted := known[key].refuses(given[key])):
            yield f"'{path}.{key}' is {given[key]!r}; give {wanted}"


def _values(kind: Any, node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield each value of the schema that is none of its choices or out of its bounds."""
    for item in fields(kind):
        value, where = node[item.name], f"{path}{item.name}"
        if is_dataclass(item.type):
            yield from _values(item.type, value, f"{where}.")
        elif get_origin(item.type) is dict and is_dataclass(entry := get_args(item.type)[1]):
            for name, part in value.items():
                yield from _values(entry, part, f"{where}.{name}.")
        choices, (least, most) = item.metadata.get("choices"), item.metadata.get("bounds", (-inf, inf))
        if choices and value not in choices:
            yield f"'{where}' {value} does not exist; use {in_words(choices)}"
        elif isinstance(value, float | int) and not least <= value <= most:
            yield f"'{where}' is {value}; give {f'{least} to {most}' if most < inf else f'{least} or more'}"


def _together(config: dict[str, Any]) -> Iterator[str]:
    """Yield what does not go together; docs/performance.md has the table."""
    strategy = config["strategy"]
    shared_out = strategy["kind"] == "fsdp2"
    if shared_out and config["backbone"]["quantize"] is not None:
        yield "strategy=fsdp2 cannot share out 4-bit weights; use strategy=ddp with adapter=qlora"
    if shared_out and config["trainer"]["precision"] == "fp16":
        yield "strategy=fsdp2 has no loss scaling for trainer.precision=fp16; use bf16 or fp32"
    if strategy["cpu_offload"] and not shared_out:
        yield "strategy.cpu_offload goes with strategy=fsdp2 only"


def _place(cluster: dict[str, Any]) -> Iterator[str]:
    if cluster["kind"] == "local" and cluster["nodes"] > 1:
        yield "cluster=local is this machine alone, not cluster.nodes=2 or more; use cluster=slurm, or torchrun on each"
