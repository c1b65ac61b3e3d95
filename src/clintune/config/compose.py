"""Compose a recipe and overrides into one checked config, in under a second and without torch."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from clintune.config.check import check_config, check_scoring
from clintune.config.schema import Cohort, Config, Scoring
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError
from clintune.core.paths import config_root

ConfigStore.instance().store(name="schema", node=Config)
ConfigStore.instance().store(name="scoring", node=Scoring)


def compose_recipe(recipe: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the composed config of a recipe file; every key and value has been checked.

    Raises ConfigError naming each wrong key or value, with the nearest name.
    """
    config = _resolve(recipe, overrides, Config)
    check_config(config, recipe.name)
    return config


def compose_scoring(package: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the config of a job that scores a cohort with a package, composed from configs/predict.yaml and checked.

    Raises ConfigError as `compose_recipe`.
    """
    config = _resolve(config_root() / "configs" / "predict.yaml", overrides, Scoring)
    config.package = package
    check_scoring(config, "predict")
    return config


def _resolve(recipe: Path, overrides: Sequence[str], schema: type) -> DictConfig:
    try:
        config = _compose(recipe, overrides)
        if schema is Config and OmegaConf.is_missing(config, "name"):
            config.name = recipe.stem
        OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException, YAMLError, AssertionError) as error:
        raise ConfigError(_explain(recipe, error, schema)) from error
    return config


def _compose(recipe: Path, overrides: Sequence[str]) -> DictConfig:
    """Compose from a folder that holds the recipe alone: Hydra takes every folder beside it for a config group."""
    GlobalHydra.instance().clear()
    with TemporaryDirectory() as folder:
        Path(folder, recipe.name).write_bytes(recipe.read_bytes())
        with initialize_config_dir(config_dir=folder, version_base="1.3"):
            searchpath = f"hydra.searchpath=[file://{config_root() / 'configs'}]"
            return compose(recipe.stem, overrides=[searchpath, *overrides])


def load_config(path: Path, schema: type = Config) -> DictConfig:
    """Load a resolved config that `to_yaml` wrote, checked against the schema, `Config` or `Scoring`.

    Raises ConfigError when the file is not such a config.
    """
    try:
        return OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.load(path))  # type: ignore[return-value]
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"{path}: not a resolved config of this version of clintune ({_first_line(error)})"
        ) from error


def to_yaml(config: DictConfig) -> str:
    """Return the resolved config as YAML."""
    return OmegaConf.to_yaml(config, resolve=True)


def _explain(recipe: Path, error: Exception, schema: type) -> str:
    """Turn Hydra's or OmegaConf's error into one line."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = "\n".join(str(link) for link in chain)
    where = f"{recipe.name}: "
    if isinstance(error, AssertionError) or "is defined before" in text:
        return f"{where}the defaults list has an `override` before a plain entry; move overrides to its end"
    option = re.search(r"Could not find '([^']+)'\s+Available options in '([^']+)':((?:\s+\S+)+)", text)
    if option:
        name, group, known = option.groups()
        choice = name.rpartition("/")[2]
        return f"{where}'{choice}' is not a choice of {group}{nearest(choice, known.split())}"
    key = re.search(r"full_key: (\S+)", text)
    if key and re.search(r"Key '[^']*' (is )?not in|not in struct", text):
        parent, _, last = key.group(1).rpartition(".")
        return f"{where}key '{key.group(1)}' does not exist{nearest(last, _known_keys(recipe, schema, parent))}"
    group = re.search(r"Could not override '([^']+)'", text)
    if group and not key:
        return f"{where}key '{group.group(1)}' does not exist{nearest(group.group(1), _known_keys(recipe, schema, ''))}"
    return f"{where}{f'key {key.group(1)!r}: ' if key else ''}{_first_line(chain[-1] if key else error)}"


def _known_keys(recipe: Path, schema: type, parent: str) -> list[str]:
    """Return the keys below `parent`, from the recipe where it composes, else from the schema."""
    node: Any = OmegaConf.structured(schema)
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        node = _compose(recipe, ())
    selected = OmegaConf.select(node, parent, throw_on_missing=False) if parent else node
    if selected is None and parent.startswith("cohorts."):
        rest = parent.partition(".")[2].partition(".")[2]
        cohort = OmegaConf.structured(Cohort)
        selected = OmegaConf.select(cohort, rest) if rest else cohort
    return [str(key) for key in selected] if isinstance(selected, DictConfig) else []


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
