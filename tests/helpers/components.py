"""The parts that configs/ describes, as composing makes them of their files."""

import yaml

from clintune.config.places import config_root

CONFIGS = config_root() / "configs"


def component(group, name):
    """Return the keys of a file of a group, with those of the file that it begins with."""
    keys = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
    first = [entry.partition("@")[0] for entry in keys.pop("defaults", [])]
    return {key: value for base in first for key, value in component(group, base).items()} | keys


def names(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
