"""Check a composed config: all keys are known, required keys are given, values fit.

No torch here.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from clintune.config.analyses import analysis_problems
from clintune.config.schema import Config, Scoring
from clintune.config.secrets import secrets
from clintune.config.signature import may_be
from clintune.config.suggest import nearest_of
from clintune.config.together import together
from clintune.config.values import endless, misfits, missing, no_text, targets
from clintune.core.errors import ConfigError
from clintune.core.paths import check_name, check_part_name
from clintune.core.problems import raise_all
from clintune.core.text import visible

PARTS = {"modalities": ("modality", "Modality"), "tasks": ("task", "Task")}
"""Sections whose entries each name a class by `_target_`: the entry's word, its base class."""


def check_config(config: DictConfig, where: str) -> None:
    """Raise one ConfigError that names all wrong keys and values of a config.

    A key is wrong if it is missing, unknown or without effect.
    """
    plain = _plain(config)
    problems = [
        *misfits(Config, plain),
        *missing(plain),
        *_strays(plain),
        *_parts(plain),
        *_sources(plain),
        *_names(plain),
        *_folders(plain),
        *secrets(plain),
        *(list(_strangers(plain)) or targets(plain)),
        *endless(plain),
        *no_text(plain),
        *_place(plain["cluster"]),
        *analysis_problems(plain["evaluation"]),
    ]

    # Combinations are checked only when each value fits by itself.
    raise_all(where, problems or list(together(plain)))


def check_scoring(config: DictConfig, where: str) -> None:
    """Raise one ConfigError that names all wrong keys and values of a scoring job."""
    plain = _plain(config)
    problems = [
        *misfits(Scoring, plain),
        *missing(plain),
        *_cohort_names(plain),
        *_sources(plain),
        *_folders(plain),
        *secrets(plain),
        *targets(plain),
        *endless(plain),
        *no_text(plain),
        *_place(plain["cluster"]),
    ]

    if len(plain["cohorts"]) != 1:
        problems.append("'cohorts' is more than one; score them one by one")
    raise_all(where, problems)


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)  # type: ignore[return-value]


def _parts(config: dict[str, Any]) -> Iterator[str]:
    for section in PARTS:
        if not config[section]:
            yield f"'{section}' is empty; choose at least one"
        for name, part in config[section].items():
            if not _has_target(part):
                yield (
                    f"'{section}.{name}' is tuned but not chosen (no _target_); "
                    "add it to the defaults, or drop it"
                )

    if not config["cohorts"]:
        yield "'cohorts' is empty; choose at least one"
    if not _has_target(config["tracker"]):
        yield "'tracker' names no class (_target_); choose one, as tracker=none"


def _sources(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each source of a cohort that names no function."""
    for name, cohort in config["cohorts"].items():
        source = cohort["source"]
        if source is not None and not _has_target(source):
            yield (
                f"'cohorts.{name}.source' is {visible(repr(source))}; "
                "give a mapping with _target_, or null"
            )


def _has_target(part: Any) -> bool:
    """Return whether a part is a mapping whose `_target_` is a text."""
    return isinstance(part, dict) and isinstance(part.get("_target_"), str)


def _strangers(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each part whose `_target_` exists but is no such part.

    It is a function, or a class that does not derive from the base class of its section.
    """
    for section, (called, base) in PARTS.items():
        for name, part in config[section].items():
            if _has_target(part) and _is_stranger(target := part["_target_"], base):
                where, shown = visible(f"{section}.{name}"), visible(target)
                yield (
                    f"'{where}': _target_ {shown} is no {called}; "
                    f"name a class that derives from {base}"
                )


def _is_stranger(target: str, base: str) -> bool:
    """Return whether a target exists and surely does not derive from `base`."""
    if target.partition(".")[0] in sys.stdlib_module_names:
        return True
    try:
        return not may_be(target, base)
    except ConfigError:
        return False


def _strays(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each cohort without a root beside a cohort that has one.

    One of the two names may be a mistake.
    """
    cohorts = config["cohorts"]
    given = [name for name, cohort in cohorts.items() if cohort["root"] != "???"]
    if not given:
        return
    for name in (name for name in cohorts if name not in given):
        yield (
            f"'cohorts.{nearest_of(name, given)}' is a cohort of its own beside 'cohorts.{name}', "
            "which has no root; for one cohort, write all its keys below one name, "
            "that of the defaults where it is chosen there"
        )


def _names(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each name that cannot be part of a path: results are kept below it."""
    yield from _problem(check_name, config["name"], "'name'", nested=True)
    yield from _cohort_names(config)
    for section in PARTS:
        for name in config[section]:
            yield from _problem(check_part_name, name, f"a name in '{section}'")


def _folders(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each folder that is empty text: it would mean the working directory."""
    roots = {f"cohorts.{name}.root": cohort["root"] for name, cohort in config["cohorts"].items()}
    places = {"data.raw": config["data"]["raw"], "data.cache": config["data"]["cache"], **roots}
    places |= {key: config[key] for key in ("runs", "out") if key in config}

    for key, value in places.items():
        if value is not None and not value.strip():
            yield f"'{key}' is empty; name a folder (. is where you are)"


def _cohort_names(config: dict[str, Any]) -> Iterator[str]:
    for name in config["cohorts"]:
        yield from _problem(check_name, name, "a name in 'cohorts'")


def _problem(check: Callable[..., str], *name: str, **options: bool) -> Iterator[str]:
    try:
        check(*name, **options)
    except ConfigError as error:
        yield str(error)


def _place(cluster: dict[str, Any]) -> Iterator[str]:
    if cluster["kind"] == "local" and cluster["nodes"] > 1:
        yield (
            "cluster=local is this machine alone, not cluster.nodes=2 or more; "
            "use cluster=slurm, or torchrun on each"
        )
