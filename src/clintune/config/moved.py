"""Where the cohorts and the cache of a finished run stand now, when it is no longer where its recipe says."""

from collections.abc import Sequence
from copy import deepcopy

from omegaconf import DictConfig

from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError

CACHE = "data.cache"


def moved(config: DictConfig, words: Sequence[str], verb: str) -> DictConfig:
    """Return a run's config with words as `cohorts.NAME.root=FOLDER` and `data.cache=FOLDER` applied.

    A cohort at another root is there as it is: its `source` does not write it anew. The run's recipe stays. Raises
    ConfigError for any other key, whose change would make it another run.
    """
    config = deepcopy(config)
    roots = {f"cohorts.{name}.root": cohort for name, cohort in config.cohorts.items()}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(
                f"{verb}: '{word}' is no KEY=VALUE; it takes {', '.join(f'{k}=' for k in (*roots, CACHE))}"
            )
        if key == CACHE:
            config.data.cache = value
        elif key in roots:
            roots[key].root, roots[key].source = value, None
        else:
            raise ConfigError(
                f"{verb}: key '{key}' cannot be changed after training, only where data stand"
                f"{nearest(key, (*roots, CACHE))}"
            )
    return config
