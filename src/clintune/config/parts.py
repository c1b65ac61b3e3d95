"""Make the parts of a config: the objects that its `_target_` keys name."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from clintune.config.schema import Config
from clintune.core.errors import ClintuneError, ConfigError
from clintune.core.outside import outside_reason, users_fault


def instantiate_section(section: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Instantiate each part of a section, such as `modalities`, by name.

    Raises ConfigError that names the part whose constructor refuses its values.
    """
    made = {}
    for name, part in parts.items():
        try:
            made[name] = instantiate(part, _convert_="all")
        except InstantiationException as error:
            if outside_reason(error) is not None:  # no memory, or a package that is not installed
                raise
            raise ConfigError(f"{section}.{name}: {_said(error)}") from error
    return made


def _said(error: InstantiationException) -> str:
    """Return what a constructor, or the import of its module, said; where, in the user's module."""
    cause = error.__cause__ or error
    if isinstance(cause, ImportError):  # Hydra's own, of what the module raised
        cause = cause.__cause__ or cause
    fault = None if isinstance(cause, ClintuneError) else users_fault(cause)
    return f"{fault} ({cause})" if fault else str(cause)


def modules_of(config: Config) -> list[str]:
    """Return the top modules of the classes that a config names; its author trusts them."""
    parts = [*config.modalities.values(), *config.tasks.values()]
    return sorted({str(part["_target_"]).partition(".")[0] for part in parts})
