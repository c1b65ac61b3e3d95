"""Sweeps over overrides, with the grammar and order of Hydra's basic sweeper."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from clintune.core.errors import ConfigError


def sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return one list of overrides a job: the product of all values, as `hydra -m` makes it.

    Raises ConfigError when an override cannot be parsed.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        batches = BasicSweeper.split_arguments(parsed, None)
    except HydraException as error:
        raise ConfigError(f"sweep: {str(error).splitlines()[0]}") from error
    return [list(job) for batch in batches for job in batch]
