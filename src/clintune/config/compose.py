"""Compose a recipe and overrides into one checked config, in under a second and without torch."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from clintune.config.check import check_config, check_scoring
from clintune.config.choices import clashes
from clintune.config.explain import explain, first_line
from clintune.config.modules import find_modules, use_modules
from clintune.config.overrides import is_key, read_overrides
from clintune.config.places import config_root
from clintune.config.recipe_file import defaults_of, read_recipe
from clintune.config.schema import Cohort, Config, Scoring
from clintune.config.typed import Section, editable, frozen, of_plain
from clintune.core.errors import ConfigError

_NAME = "clintune_recipe"
"""Name by which Hydra knows a recipe.

The name of its file may be that of a config of ours, or one that Hydra does not take.
"""

_SCHEMAS = {"schema": Config, "scoring": Scoring}
"""Schemas that a defaults list can begin with, by name."""


def compose_recipe(recipe: Path, overrides: Sequence[str] = ()) -> Config:
    """Compose and check the config of a recipe file.

    Raises ConfigError that names each wrong key or value, with the nearest name.
    """
    config = _resolve(recipe.name, read_recipe(recipe), overrides, Config)
    if OmegaConf.is_missing(config, "name"):
        config.name = recipe.stem
    config.modules = config.modules or find_modules(config, recipe.parent)
    use_modules(config.modules)

    check_config(config, recipe.name)
    return frozen(Config, config)


def compose_scoring(package: str, overrides: Sequence[str] = ()) -> Scoring:
    """Compose and check the config of a job that scores a cohort with a package.

    It is made from configs/predict.yaml. Raises ConfigError as `compose_recipe` does.
    """
    path = config_root() / "configs" / "predict.yaml"
    config = _resolve("predict", path.read_text(encoding="utf-8"), overrides, Scoring)
    config.package = package
    check_scoring(config, "predict")
    return frozen(Scoring, config)


def load_config(path: Path) -> Config:
    """Load the config of a run, which `to_yaml` wrote.

    From then on the modules beside its recipe can be imported. Raises ConfigError if the file is
    no such config.
    """
    config = load_section(path, Config)
    use_modules(config.modules)
    return config


def load_section(path: Path, kind: type[Section]) -> Section:
    """Load a section of the schema that `to_yaml` wrote; ConfigError for any other file."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=get_yaml_loader())
        return of_plain(kind, values)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"{path}: not a whole config of this version of clintune ({first_line(error)}); "
            "restore it, or start anew"
        ) from error


def _resolve(where: str, recipe: str, overrides: Sequence[str], schema: type) -> DictConfig:
    words = read_overrides(overrides)
    if problem := next(clashes(defaults_of(recipe), words), None):
        raise ConfigError(f"{where}: {problem}")

    try:
        config = _compose_keys(recipe, words)
        OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        reason = explain(error, lambda parent: _known_keys(recipe, schema, parent))
        raise ConfigError(f"{where}: {reason}") from error
    return config


def _compose_keys(recipe: str, words: list[str]) -> DictConfig:
    """Compose a recipe; an override may give a key of a class that the recipe leaves out.

    Whether the class takes it is checked later, as for a key in the recipe.
    """
    try:
        return _compose(recipe, words)
    except HydraException:
        keys = [word for word in words if is_key(word)]
        base = _compose(recipe, [word for word in words if word not in keys])
        added = {word: f"++{word}" for word in keys if _is_of_class(base, word.partition("=")[0])}
        if not added:
            raise
    return _compose(recipe, [added.get(word, word) for word in words])


def _is_of_class(config: DictConfig, key: str) -> bool:
    """Return whether a key stands below a `_target_`."""
    names = key.split(".")
    above = (".".join(names[:length]) for length in range(1, len(names)))
    nodes = (OmegaConf.select(config, name, throw_on_missing=False) for name in above)
    return any(isinstance(node, DictConfig) and "_target_" in node for node in nodes)


def _compose(recipe: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a recipe from a folder that holds it alone.

    Hydra takes every folder beside a config for a config group.
    """
    # Schemas are stored at each call: their defaults come from the environment as it is now.
    GlobalHydra.instance().clear()
    for name, kind in _SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=editable(kind))

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # Without `_self_` the recipe itself stands last, as it should.
        warnings.filterwarnings("ignore", message=".*is missing `_self_`")
        Path(folder, f"{_NAME}.yaml").write_text(recipe, encoding="utf-8")
        with initialize_config_dir(config_dir=folder, version_base="1.3"):
            searchpath = f"hydra.searchpath=[file://{config_root() / 'configs'}]"
            return compose(_NAME, overrides=[searchpath, *overrides])


def _known_keys(recipe: str, schema: type, parent: str) -> list[str]:
    """Return the keys below `parent`, from the recipe if it composes, else from the schema."""
    node: Any = OmegaConf.structured(editable(schema))
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        node = _compose(recipe, ())

    # A cohort that the recipe does not have yet has the keys of the schema.
    selected = OmegaConf.select(node, parent, throw_on_missing=False) if parent else node
    if selected is None and parent.startswith("cohorts."):
        rest = parent.partition(".")[2].partition(".")[2]
        cohort = OmegaConf.structured(editable(Cohort))
        selected = OmegaConf.select(cohort, rest) if rest else cohort
    return [str(key) for key in selected] if isinstance(selected, DictConfig) else []
