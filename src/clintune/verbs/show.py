"""The verb that prints the composed config of a recipe. No torch."""

from collections.abc import Sequence

from clintune.config.compose import compose_recipe
from clintune.config.recipes import find_recipe
from clintune.config.typed import to_yaml
from clintune.verbs.arguments import one_recipe, recipe_parser


def show(argv: Sequence[str]) -> None:
    """Print the composed config of a recipe."""
    arguments = recipe_parser("show", "Print the composed config of a recipe.").parse_args(argv)
    one_recipe("show", arguments.words)
    print(to_yaml(compose_recipe(find_recipe(arguments.recipe), arguments.words)), end="")
