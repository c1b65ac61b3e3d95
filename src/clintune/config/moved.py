"""Change the config of a run: where data stand, and settings of a run that is resumed."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clintune.config.analyses import find_analyses
from clintune.config.check import check_config
from clintune.config.explain import explain
from clintune.config.overrides import read_texts, set_keys
from clintune.config.schema import Config
from clintune.config.typed import composed, frozen
from clintune.core.errors import ConfigError

CACHE, ANALYSES = "data.cache", "evaluation"


def moved(config: Config, words: Sequence[str], verb: str) -> Config:
    """Return a run's config with `cohorts.NAME.root=FOLDER` and `data.cache=FOLDER` applied.

    `evaluate` takes `evaluation=[NAME,...]`, too: analyses change no weights. A cohort at another
    root is used as it is: its `source` does not write it anew. The run's recipe file stays. Raises
    ConfigError for any other key, because its change would make it another run.
    """
    roots = {f"cohorts.{name}.root": name for name in config.cohorts}
    otherwise = "cannot be changed after training, only where data stand"
    known = [*roots, CACHE]
    if verb == "evaluate":
        analyses = [word for word in words if word.partition("=")[0] == ANALYSES]
        config = _with_analyses(config, analyses, verb) if analyses else config
        words = [word for word in words if word not in analyses]
        known, otherwise = [*known, ANALYSES], f"{otherwise}, and '{ANALYSES}'"
    folders = read_texts(verb, words, known, otherwise)

    if CACHE in folders:
        config = replace(config, data=replace(config.data, cache=folders.pop(CACHE)))
    cohorts = {
        roots[key]: replace(config.cohorts[roots[key]], root=folder, source=None)
        for key, folder in folders.items()
    }
    return replace(config, cohorts={**config.cohorts, **cohorts})


def changed(config: Config, words: Sequence[str], where: str) -> Config:
    """Return a run's config with overrides of its own keys, checked like the config of a recipe.

    Raises ConfigError that begins with `where` and names each wrong key or value.
    """
    node = _with_keys(config, words, where)
    check_config(node, where)
    return frozen(Config, node)


def _with_analyses(config: Config, words: Sequence[str], verb: str) -> Config:
    """Return a run's config with other analyses, each of which must exist.

    A module of the user's own stands beside the recipe of the run, or in the working directory.
    """
    config = frozen(Config, _with_keys(config, words, verb))
    find_analyses(config.evaluation or [], verb)
    return config


def _with_keys(config: Config, words: Sequence[str], where: str) -> DictConfig:
    """Return a run's config as a node with overrides of its own keys, unchecked."""
    node = composed(Config, asdict(config))
    try:
        set_keys(node, words)
        OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        reason = explain(error, lambda parent: map(str, OmegaConf.select(node, parent) or node))
        raise ConfigError(f"{where}: {reason}") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return node
