"""Every recipe that ships composes, says what it is for, and states only its differences."""

import pytest

from clintune.config.compose import compose_recipe, load_config
from clintune.config.overrides import sweep
from clintune.config.recipes import shipped_recipes, summary
from clintune.config.typed import to_yaml
from clintune.core.errors import ConfigError

RECIPES = shipped_recipes()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_composes_and_survives_the_run_folder(name, tmp_path):
    config = compose_recipe(RECIPES[name])
    assert config.name == name
    (tmp_path / "recipe.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "recipe.yaml") == config


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_headed_by_what_why_and_how_to_run(name):
    lines = RECIPES[name].read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert len(summary(RECIPES[name])) > 20
    assert any(line.startswith("# Why: ") for line in header)
    assert any(line.startswith(f"# Run: clintune train {name}") for line in header)
    assert len(lines) - len(header) <= 35


def test_a_sweep_is_the_product_that_hydra_makes():
    assert sweep(["a=1,2", "b=x", "c=[1,2]"]) == [
        ["a=1", "b=x", "c=[1,2]"],
        ["a=2", "b=x", "c=[1,2]"],
    ]
    assert len(sweep(["a=1,2", "b=range(0,3)"])) == 6
    assert sweep(["a=1,2", "a=3", "~b"]) == [["a=3", "~b"]]


@pytest.mark.parametrize("word", ["a=interval(0,1)", "a=glob(*)", "a=range(3,3)"])
def test_a_sweep_over_values_that_are_not_listed_is_refused(word):
    with pytest.raises(ConfigError, match=r"lists no values; write it as KEY=A,B"):
        sweep([word])
