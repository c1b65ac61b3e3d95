"""A suite: which methods are compared on which recipes. Read and checked without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from clintune.benchmark.method_names import BASELINES, EMBEDDED, PEERS, split_name
from clintune.config.overrides import set_keys
from clintune.config.places import config_root
from clintune.config.recipes import find_file
from clintune.config.schema import Config
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError
from clintune.core.text import visible

_GROUPS = {"cohort", "modality", "task"}
"""Keys of overrides that are no sections of a recipe."""
_TAKES = {
    "axis": "text",
    "baselines": "a list, as [logistic,boosting]",
    "clintune": "each name a list of overrides, as {lora: [adapter.r=4]}",
    "experiments": "each name its keys, as {mine: {recipe: quickstart}}",
    "levels": "each name a list of overrides, as {few: [cohorts.meds.splits.train_share=0.1]}",
    "methods": "a list, as [lora,logistic]",
    "missing": "a list of shares, as [0.0,0.5]",
    "overrides": "a list, as [trainer.max_steps=50]",
    "peer_seconds": "a number",
    "recipe": "the name or path of a recipe",
    "seeds": "a list of whole numbers, as [0,1]",
}
"""What the keys of a suite and its experiments take."""


@dataclass
class Experiment:
    """A recipe on which every method is tried."""

    recipe: str = MISSING
    overrides: list[str] = field(default_factory=list)
    """Hydra overrides on the recipe, for every method alike."""
    baselines: list[str] = field(default_factory=list)
    """Names of `BASELINES` and `PEERS` of `benchmark.method_names`.

    A baseline as `NAME/MODALITY` reads that modality alone.
    """
    levels: dict[str, list[str]] = field(default_factory=dict)
    """Variants of the recipe, each by its overrides, in which all methods are trained.

    Where there is none, they are trained on the recipe as it is.
    """
    axis: str | None = None
    """What the levels measure, where they are numbers: the page then draws curves."""


@dataclass
class Suite:
    """Everything that is compared."""

    experiments: dict[str, Experiment] = field(default_factory=dict)
    clintune: dict[str, list[str]] = field(default_factory=dict)
    """Models of clintune's own by name, each by its overrides on the recipe."""
    missing: list[float] = field(default_factory=lambda: [0.0])
    """Shares of the held-out samples that lose a modality, each modality by itself."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    methods: list[str] | None = None
    """Names of the methods to run now; null runs all."""
    peer_seconds: float = 300.0
    """Time limit of each fit of a peer: of one fold and one yes-or-no question."""


def shipped_suites() -> dict[str, Path]:
    """Return the suites that come with clintune, by name."""
    folder = config_root() / "configs" / "suite"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_suite(name: str) -> Path:
    """Return the file of a suite given by name or by path.

    Raises ConfigError, with the nearest name, when there is none.
    """
    return find_file("suite", name, shipped_suites())


def is_suite_key(override: str) -> bool:
    """Return whether `KEY=VALUE` is about the suite itself rather than its recipes.

    Raises ConfigError, with the nearest name, for a key of neither.
    """
    key = override.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]
    own = {item.name for item in fields(Suite)}
    known = own | {item.name for item in fields(Config)} | _GROUPS
    if key not in known:
        raise ConfigError(
            f"key '{visible(key)}' is one of neither suite nor recipe{nearest(key, known)}"
        )
    return key in own


def read_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite, with overrides of its own keys.

    Raises ConfigError for a key that does not exist, a value that does not fit, or a method that
    nobody knows.
    """
    try:
        node = OmegaConf.merge(OmegaConf.structured(Suite), OmegaConf.load(path))
        assert isinstance(node, DictConfig)
        set_keys(node, overrides)
        suite: Any = OmegaConf.to_object(node)
    except (OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
        raise ConfigError(f"suite {path.name}: {_why(error)}") from error
    assert isinstance(suite, Suite)
    if problem := _problem(suite):
        raise ConfigError(f"suite {path.name}: {problem}")
    return suite


def _why(error: Exception) -> str:
    """Return what is wrong with the keys and values of a suite, with the nearest name of a key."""
    first, key = str(error).splitlines()[0], getattr(error, "full_key", None)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and key:
        name = str(key).rpartition(".")[2]
        kind = Experiment if str(key).startswith("experiments.") else Suite
        names = [item.name for item in fields(kind)]
        return f"key '{visible(key)}' does not exist{nearest(name, names)}"

    if isinstance(error, ValidationError) and key:
        named = [part.partition("[")[0] for part in str(key).split(".")]
        known = next((part for part in reversed(named) if part in _TAKES), None)
        takes = _TAKES[known] if known else "what suites of clintune have there"
        return f"'{visible(key)}' does not fit; give {takes}"
    return f"{visible(key)}: {first}" if key else first


def _problem(suite: Suite) -> str | None:
    """Return what is wrong with a suite, None where nothing is."""
    if not suite.experiments or not suite.seeds:
        return "'experiments' and 'seeds' say what is compared; give at least one of each"
    if again := sorted({seed for seed in suite.seeds if suite.seeds.count(seed) > 1}):
        return f"'seeds' names {again[0]} twice; give each once"
    if suite.methods == []:
        return "'methods' is empty; name one, or give null for all"

    if wrong := [rate for rate in suite.missing if not 0 <= rate < 1]:
        return f"'missing' has {wrong[0]}; give shares from 0 to below 1"
    if not suite.peer_seconds > 0:
        return (
            f"'peer_seconds' is {suite.peer_seconds:g}; give the seconds that one fit of a peer "
            "may take"
        )

    others = {*BASELINES, *PEERS}
    for name, experiment in suite.experiments.items():
        if problem := _problem_of(name, experiment, others):
            return problem

    baselines = [experiment.baselines for experiment in suite.experiments.values()]
    known = set(suite.clintune).union(*baselines)
    if twice := sorted(set(suite.clintune) & others):
        return f"'clintune.{twice[0]}' is the name of a baseline; choose a different one"
    if unknown := sorted(set(suite.methods or []) - known):
        return f"'methods': '{unknown[0]}' is none of its methods{nearest(unknown[0], known)}"
    return None


def _problem_of(name: str, experiment: Experiment, others: set[str]) -> str | None:
    """Return what is wrong with an experiment, None where nothing is.

    `others` are the methods that are not of the suite's own.
    """
    where = f"'experiments.{name}.baselines'"
    for baseline in experiment.baselines:
        learner, modality = split_name(baseline)
        if learner not in others:
            return f"{where}: '{learner}' does not exist{nearest(learner, others)}"
        if modality and learner not in EMBEDDED:
            return f"{where}: '{learner}' is not of one modality; write {learner}"

    if experiment.axis and not all(_is_number(level) for level in experiment.levels):
        return (
            f"'experiments.{name}.axis' measures levels that are no numbers; leave it out, "
            "or rename them"
        )
    return None


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
