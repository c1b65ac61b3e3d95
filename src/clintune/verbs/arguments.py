"""Arguments that several verbs have in common."""

import argparse
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from clintune.config.recipes import shipped_recipes
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError

PACKAGE = "folder of a package or run, org/name, models:/name, or URL"


class Parser(argparse.ArgumentParser):
    """The parser of a verb; each error is a ConfigError of one line, with the nearest option."""

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(prog=f"clintune {verb}", description=description)
        self.verb = verb

    def error(self, message: str) -> NoReturn:
        """Raise a message of argparse as a ConfigError."""
        message = message.removesuffix(", KEY=VALUE")  # these may be left out
        options = [option for option in self._option_string_actions if option.startswith("--")]
        unknown = re.match(r"unrecognized arguments: (--?[\w-]+)", message)
        hint = nearest(unknown[1], options) if unknown else ""
        raise ConfigError(f"{self.verb}: {message}{hint} (`clintune {self.verb} --help` says more)")


def at_least(least: int) -> Callable[[str], int]:
    """Return a function that reads a whole number of `least` or more."""

    def number(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number of {least} or more")
        return int(text)

    return number


def days(text: str) -> float:
    """Read a number of days."""
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of days, 0 or more")
    return float(text)


def verb_parser(verb: str, description: str, *, subject: str, meaning: str, words: str) -> Parser:
    """Return the parser of a verb that takes a subject and any number of words KEY=VALUE.

    `meaning` is the help on the subject, `words` the help on the words.
    """
    parser = Parser(verb, description)
    parser.add_argument(subject, metavar=subject.upper(), help=meaning)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help=words)
    return parser


def read_resumable(parser: Parser, argv: Sequence[str], what: str, go_on: str) -> Namespace:
    """Read arguments with `--resume` and `--wait`.

    `what` is resumed, as "a run"; `go_on` is the command for it. Raises ConfigError for `--resume`
    without a folder.
    """
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"the first word is the folder of {what} that was stopped: go on",
    )
    parser.add_argument(
        "--wait", action="store_true", help="with cluster=slurm: follow the job until it ends"
    )
    if "--resume" in argv and all(word.startswith("-") for word in argv):
        raise ConfigError(f"{parser.verb} --resume: name the folder of {what}: {go_on}")
    return parser.parse_intermixed_args(argv)


def recipe_parser(verb: str, description: str) -> Parser:
    """Return the parser of a verb that takes a recipe and overrides."""
    return verb_parser(
        verb,
        description,
        subject="recipe",
        meaning="name of a recipe (`clintune recipes`) or path of your own",
        words="Hydra overrides, as in trainer.max_steps=50",
    )


def one_recipe(verb: str, words: Sequence[str]) -> None:
    """Raise ConfigError if one of the words after a recipe is another recipe."""
    for word in words:
        if word in shipped_recipes() or ("=" not in word and word.endswith((".yaml", ".yml"))):
            raise ConfigError(f"{verb}: '{word}' is a second recipe; give one recipe at a time")


def run_folder(name: str) -> Path:
    """Return the folder of a run; raise ConfigError if it is none."""
    folder = Path(name).expanduser()
    if (folder / "recipe.yaml").is_file():
        return folder

    # It may be a folder within a run.
    remedy = "give the folder that `clintune train` printed"
    for above in folder.absolute().parents:
        if (above / "recipe.yaml").is_file():
            remedy = f"give the run itself, {above}"
            break
    raise ConfigError(f"run {name}: no recipe.yaml there; {remedy}")
