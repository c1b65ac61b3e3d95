"""Find recipes: the shipped ones by name, a user's own by path."""

from collections.abc import Mapping
from pathlib import Path

from clintune.config.places import config_root
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with clintune, by name."""
    return {path.stem: path for path in sorted((config_root() / "recipes").glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Return the file of a recipe that is given by name or by path.

    Raises ConfigError, with the nearest name, if there is none.
    """
    return find_file("recipe", name, shipped_recipes())


def find_file(kind: str, name: str, shipped: Mapping[str, Path]) -> Path:
    """Return the YAML file of a `kind`, which is given by path or by the name of a shipped one.

    Raises ConfigError, with the nearest name, if there is none.
    """
    # A path ends in .yaml.
    path = Path(name).expanduser()
    if path.suffix in {".yaml", ".yml"}:
        if path.is_dir():
            raise ConfigError(_other_than_yaml(kind, path))
        if not path.is_file():
            raise ConfigError(
                f"{kind} {name}: no such file in {path.parent.resolve()}{_nearest_file(path)}"
            )
        return path.resolve()

    # Anything else is a name.
    if name not in shipped and path.exists():
        raise ConfigError(_other_than_yaml(kind, path))
    if name not in shipped:
        raise ConfigError(
            f"{kind} '{name}' does not exist{nearest(name, shipped)} "
            f"(a {kind} of your own: its path, ending in .yaml)"
        )
    return shipped[name]


def summary(recipe: Path) -> str:
    """Return the first comment line of a recipe, which says what it does."""
    first = recipe.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def _other_than_yaml(kind: str, path: Path) -> str:
    """Say what stands at a path that is no YAML file, and what to give instead."""
    if not path.is_dir():
        return (
            f"{kind} {path}: its name does not end in .yaml; "
            f"rename it to {path.with_suffix('.yaml').name}"
        )
    if (path / "recipe.yaml").is_file():
        return (
            f"{kind} {path}: is the folder of a run; "
            f"go on with it by `clintune train --resume {path}`"
        )

    found = sorted(file.name for file in path.glob("*.y*ml") if file.is_file())
    there = "the path of a file that ends in .yaml"
    if found:
        there = f"one of its files, as {path / found[0]}"
    return f"{kind} {path}: is a folder; give {there}"


def _nearest_file(path: Path) -> str:
    folder = path.parent
    return nearest(path.name, (p.name for p in folder.glob("*.y*ml"))) if folder.is_dir() else ""
