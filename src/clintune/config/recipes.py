"""Find recipes: the shipped ones by name, a user's own by path."""

from collections.abc import Mapping
from pathlib import Path

from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError
from clintune.core.paths import config_root


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with clintune, by name."""
    return {path.stem: path for path in sorted((config_root() / "recipes").glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given by name or by path.

    Raises ConfigError, with the nearest name, when there is none.
    """
    return find_file("recipe", name, shipped_recipes())


def find_file(kind: str, name: str, shipped: Mapping[str, Path]) -> Path:
    """Return the YAML file of a `kind`, given by path or by its name among the shipped ones, or raise ConfigError."""
    path = Path(name).expanduser()
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise ConfigError(f"{kind} {name}: no such file in {path.parent.resolve()}{_nearest_file(path)}")
        return path.resolve()
    if name not in shipped:
        raise ConfigError(
            f"{kind} '{name}' does not exist{nearest(name, shipped)} (a {kind} of your own: its path, ending in .yaml)"
        )
    return shipped[name]


def summary(recipe: Path) -> str:
    """Return the first comment line of a recipe: what it does."""
    first = recipe.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def _nearest_file(path: Path) -> str:
    folder = path.parent
    return nearest(path.name, (p.name for p in folder.glob("*.y*ml"))) if folder.is_dir() else ""
