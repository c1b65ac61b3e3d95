"""What the arguments of several verbs have in common."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError

PACKAGE = "folder of a package or run, org/name, models:/name, or URL"


def verb_parser(verb: str, description: str, *, subject: str, meaning: str, words: str) -> argparse.ArgumentParser:
    """Return the parser of a verb that takes a subject and any number of words KEY=VALUE, with the help on both."""
    parser = argparse.ArgumentParser(prog=f"clintune {verb}", description=description)
    parser.add_argument(subject, metavar=subject.upper(), help=meaning)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help=words)
    return parser


def recipe_parser(verb: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a verb that takes a recipe and overrides."""
    return verb_parser(
        verb,
        description,
        subject="recipe",
        meaning="name of a recipe (`clintune recipes`) or path of your own",
        words="Hydra overrides, as in trainer.max_steps=50",
    )


def run_folder(name: str) -> Path:
    """Return the folder of a run; ConfigError when it is not one."""
    folder = Path(name)
    if not (folder / "recipe.yaml").is_file():
        raise ConfigError(f"run {name}: no recipe.yaml there; give the folder that `clintune train` printed")
    return folder


def key_values(verb: str, words: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """Return KEY=VALUE arguments of a verb that takes no recipe; ConfigError for a key that it does not know."""
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(f"{verb}: '{word}' is no KEY=VALUE; it takes {', '.join(f'{name}=' for name in known)}")
        if key not in known:
            raise ConfigError(f"{verb}: key '{key}' does not exist{nearest(key, known)}")
        values[key] = value
    return values
