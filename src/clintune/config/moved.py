"""Change the config of a run: where data stand, and settings of a run that is resumed."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clintune.config.check import check_config
from clintune.config.explain import explain
from clintune.config.overrides import read_texts, set_keys
from clintune.config.schema import Config
from clintune.config.typed import composed, frozen
from clintune.core.errors import ConfigError

CACHE = "data.cache"


def moved(config: Config, words: Sequence[str], verb: str) -> Config:
    """Return a run's config with `cohorts.NAME.root=FOLDER` and `data.cache=FOLDER` applied.

    A cohort at another root is used as it is: its `source` does not write it anew. The run's recipe
    file stays. Raises ConfigError for any other key, because its change would make it another run.
    """
    roots = {f"cohorts.{name}.root": name for name in config.cohorts}
    otherwise = "cannot be changed after training, only where data stand"
    folders = read_texts(verb, words, (*roots, CACHE), otherwise)

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
    node = composed(Config, asdict(config))
    try:
        set_keys(node, words)
        OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        reason = explain(error, lambda parent: map(str, OmegaConf.select(node, parent) or node))
        raise ConfigError(f"{where}: {reason}") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error

    check_config(node, where)
    return frozen(Config, node)
