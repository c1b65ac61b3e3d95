"""Check a composed config: every key is known, every needed one is given, every value fits. No torch here."""

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
from clintune.core.text import visible

PARTS = {"modalities": ("modality", "Modality"), "tasks": ("task", "Task")}
"""Sections whose entries must each name a class with `_target_`: what people call one, and the class above it."""


def check_config(config: DictConfig, where: str) -> None:
    """Raise one ConfigError that names every key that is missing, unknown or of no effect, and every wrong value."""
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

    # What does not go together is asked of values that each fit.
    _refuse(where, problems or list(together(plain)))


def check_scoring(config: DictConfig, where: str) -> None:
    """Raise one ConfigError that names every key of a scoring job that is missing, unknown, or has a wrong value."""
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
    _refuse(where, problems)


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)  # type: ignore[return-value]


def _refuse(where: str, problems: list[str]) -> None:
    if problems:
        raise ConfigError(f"{where}: " + "; and ".join(problems))


def _parts(config: dict[str, Any]) -> Iterator[str]:
    for section in PARTS:
        if not config[section]:
            yield f"'{section}' is empty; choose at least one"
        for name, part in config[section].items():
            if not isinstance(part, dict) or not isinstance(part.get("_target_"), str):
                yield f"'{section}.{name}' is tuned but not chosen (no _target_); add it to the defaults, or drop it"
    if not config["cohorts"]:
        yield "'cohorts' is empty; choose at least one"
    if not isinstance(config["tracker"], dict) or not isinstance(
        config["tracker"].get("_target_"), str
    ):
        yield "'tracker' names no class (_target_); choose one, as tracker=none"


def _sources(config: dict[str, Any]) -> Iterator[str]:
    """Yield each source of a cohort that names no function."""
    for name, cohort in config["cohorts"].items():
        source = cohort["source"]
        if source is not None and not (
            isinstance(source, dict) and isinstance(source.get("_target_"), str)
        ):
            yield f"'cohorts.{name}.source' is {visible(repr(source))}; give a mapping with _target_, or null"


def _strangers(config: dict[str, Any]) -> Iterator[str]:
    """Yield each part whose `_target_` exists and is no such part: a function, or a class of another kind."""
    for section, (called, base) in PARTS.items():
        targets_of = {
            n: p.get("_target_") for n, p in config[section].items() if isinstance(p, dict)
        }
        for name, target in targets_of.items():
            if isinstance(target, str) and _is_stranger(target, base):
                where, shown = visible(f"{section}.{name}"), visible(target)
                yield f"'{where}': _target_ {shown} is no {called}; name a class that derives from {base}"


def _is_stranger(target: str, base: str) -> bool:
    """Return whether a target surely is no class below `base`; one that does not exist is no stranger, but unknown."""
    if target.partition(".")[0] in sys.stdlib_module_names:
        return True
    try:
        return not may_be(target, base)
    except ConfigError:
        return False


def _strays(config: dict[str, Any]) -> Iterator[str]:
    """Yield each cohort without a root that stands beside another: one of the two names may be a mistake."""
    cohorts = config["cohorts"]
    given = [name for name, cohort in cohorts.items() if cohort["root"] != "???"]
    if not given:
        return
    for name in (name for name in cohorts if name not in given):
        yield (
            f"'cohorts.{nearest_of(name, given)}' is a cohort of its own beside 'cohorts.{name}', which has no root; "
            "for one cohort, write all its keys below one name, that of the defaults where it is chosen there"
        )


def _names(config: dict[str, Any]) -> Iterator[str]:
    """Yield each name that cannot be part of a path: results are kept below it."""
    yield from _problem(check_name, config["name"], "'name'", nested=True)
    yield from _cohort_names(config)
    for section in PARTS:
        for name in config[section]:
            yield from _problem(check_part_name, name, f"a name in '{section}'")


def _folders(config: dict[str, Any]) -> Iterator[str]:
    """Yield each folder that is empty text, which would be wherever the command is given."""
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
        yield "cluster=local is this machine alone, not cluster.nodes=2 or more; use cluster=slurm, or torchrun on each"
