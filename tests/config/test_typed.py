"""A config as rooms read it: frozen, and the same after a file and a pickle."""

import pickle
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.config.compose import compose_recipe, load_config
from clintune.config.moved import changed
from clintune.config.recipes import find_recipe
from clintune.config.schema import Backbone, Cohort, Config, Data
from clintune.config.typed import of_plain, to_yaml

TEXTS = st.text(alphabet="ab${}\\:.'\" #é\n", max_size=12)


@pytest.fixture(scope="module")
def config():
    return compose_recipe(find_recipe("quickstart"))


def test_a_config_cannot_change_and_travels_to_other_processes(config):
    with pytest.raises(FrozenInstanceError):
        config.seed = 1
    with pytest.raises(FrozenInstanceError):
        config.cohorts["quickstart"].splits.seed = 1
    assert pickle.loads(pickle.dumps(config)) == config
    assert isinstance(config.cohorts["quickstart"], Cohort)


@given(name=TEXTS, width=st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), TEXTS))
@settings(deadline=None, max_examples=15)
def test_a_file_gives_back_what_was_written(config, tmp_path_factory, name, width):
    backbone = Backbone(source=name, config={"width": width, "more": [name]})
    before = replace(config, name=name, backbone=backbone)
    path = tmp_path_factory.mktemp("run") / "recipe.yaml"
    path.write_text(to_yaml(before), encoding="utf-8")
    assert load_config(path) == before
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == name
    assert changed(config, [], "x") == config


def test_plain_values_of_a_part_of_the_sections_are_completed(monkeypatch):
    monkeypatch.setenv("CLINTUNE_CACHE", "/elsewhere")
    made = of_plain(Config, {"name": "x", "backbone": {"source": "random"}})
    assert made == Config(name="x", backbone=Backbone(source="random"), data=Data())
    assert made.data.cache == "/elsewhere"
    assert asdict(made)["adapter"]["r"] == 8
