"""The verb that lists the shipped recipes. No torch."""

from collections.abc import Sequence

from clintune.config.recipes import shipped_recipes, summary
from clintune.verbs.arguments import Parser


def recipes(argv: Sequence[str]) -> None:
    """List the shipped recipes with one line each."""
    Parser("recipes", "List the recipes that come with clintune.").parse_args(argv)
    found = shipped_recipes()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        print(f"{name:<{width}}  {summary(path)}")
