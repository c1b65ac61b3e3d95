"""Values of a recipe are checked against what its classes and the schema take, without importing them."""

import importlib
import inspect
from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf

from clintune.config.compose import compose_recipe
from clintune.config.parts import make_parts
from clintune.config.recipes import find_recipe
from clintune.config.signature import parameters
from clintune.core.errors import ConfigError, StoppedError
from clintune.core.paths import config_root


def targets():
    files = [
        *(config_root() / "configs" / "modality").glob("*.yaml"),
        *(config_root() / "configs" / "task").glob("*.yaml"),
    ]
    return sorted({OmegaConf.load(file)["_target_"] for file in files})


@pytest.mark.parametrize("target", targets())
def test_a_signature_read_from_source_is_that_of_the_class(target):
    module, _, name = target.rpartition(".")
    init = getattr(importlib.import_module(module), name).__init__
    signature, hints = inspect.signature(init).parameters, get_type_hints(init)
    found = parameters(target)
    assert found.keys() == signature.keys() - {"self"}
    for key, parameter in found.items():
        assert parameter.required == (signature[key].default is inspect.Parameter.empty), key
        assert parameter.annotation == hints[key], key


def test_a_type_that_only_an_import_would_tell_takes_anything():
    assert parameters("clintune.cohort.importers.depresjon.import_depresjon")["raw"].annotation is Any


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        (
            "icu_admission",
            "modalities.notes.mode=frozn",
            "'modalities.notes.mode' is 'frozn'; give frozen, lora or full",
        ),
        ("icu_admission", "modalities.static.codes=AGE", "'modalities.static.codes' is 'AGE'; give list[str] | null"),
        ("depression_actigraphy", "modalities.wearable.days=abc", "'modalities.wearable.days' is 'abc'; give int"),
        ("depression_actigraphy", "modalities.wearable.rest=10", "'modalities.wearable.rest' is 10; give list[float]"),
        ("quickstart", "tasks.deterioration.weight=heavy", "'tasks.deterioration.weight' is 'heavy'; give float"),
        ("quickstart", "adapter.mode=lore", "'adapter.mode' lore does not exist; use lora, frozen or full"),
        ("quickstart", "model.skip=prob", "'model.skip' prob does not exist; use null, trained or probe"),
        (
            "quickstart",
            "trainer.schedule=cosin",
            "'trainer.schedule' cosin does not exist; use cosine, linear or constant",
        ),
        ("quickstart", "trainer.batch_size=0", "'trainer.batch_size' is 0; give 1 or more"),
        ("quickstart", "model.head_dropout=1.5", "'model.head_dropout' is 1.5; give 0 to 1"),
        (
            "quickstart",
            "cohorts.quickstart.lookback_hours=-1",
            "'cohorts.quickstart.lookback_hours' is -1.0; give 0 or more",
        ),
        (
            "quickstart",
            "cohorts.quickstart.splits.tuning=2",
            "'cohorts.quickstart.splits.tuning' is 2.0; give 0 to 1",
        ),
        (
            "quickstart",
            "tracker._target_=os.system",
            "'tracker': _target_ os.system: no Python module os; give the full path, as package.module.Name",
        ),
    ],
)
def test_a_value_that_misfits_is_refused_with_what_would_fit(recipe, override, message):
    with pytest.raises(ConfigError) as caught:
        compose_recipe(find_recipe(recipe), [override, "data.raw=."])
    assert str(caught.value) == f"{recipe}.yaml: {message}"


def test_what_a_constructor_refuses_names_its_part():
    rhythm = {"_target_": "clintune.modalities.rhythm.Rhythm"}
    for values, message in (
        ({"rest": []}, "features and rest say what is computed; give at least one of each"),
        ({"features": ["rythm"]}, "features 'rythm' does not exist; choose among profile"),
        ({"max_pieces": 0}, "max_pieces is 0 and views 1; give 1 or more"),
    ):
        with pytest.raises(ConfigError, match=f"modalities.wearable: {message}"):
            make_parts("modalities", OmegaConf.create({"wearable": rhythm | values}))


def stop():
    raise StoppedError(15)


def test_a_signal_that_comes_while_a_part_is_made_is_not_the_parts_fault():
    with pytest.raises(StoppedError):
        make_parts("modalities", OmegaConf.create({"wearable": {"_target_": f"{__name__}.stop"}}))
