"""Every modality config keeps the contract, with its own weights where they are here."""

from functools import cache, partial
from pathlib import Path

import pytest
from hydra.utils import instantiate

from clintune.testing import check_modality
from helpers.components import CONFIGS, component, names

NAMES = names("modality")
SMALL_DINO = {
    "model_type": "dinov2",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
CHANGES = {
    "imaging": {"views": 2, "regions": 2},
    "imaging_vit": {
        "source": "random",
        "config": {**SMALL_DINO, "image_size": 56, "patch_size": 14},
    },
    "events_native": {"source": "bundled:minilm", "revision": None},
    "notes_native": {"source": "bundled:minilm", "revision": None},
    "wearable": {"tokens": 4},
}


def modality(name):
    return instantiate(component("modality", name) | CHANGES.get(name, {}), _convert_="all")


CASES = [
    (name, what) for name in NAMES for what, _ in check_modality(partial(modality, name), Path())
]


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fake")
    return cache(lambda name: dict(check_modality(partial(modality, name), folder / name)))


@pytest.mark.parametrize(("name", "what"), CASES, ids=map("-".join, CASES))
def test_contract(checks, name, what):
    checks(name)[what]()


@pytest.mark.parametrize("name", NAMES)
def test_a_config_says_its_place_and_what_each_key_does(name):
    lines = (CONFIGS / "modality" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == f"# @package modalities.{name.split('_')[0]}"
    is_variant = lines[2].startswith("defaults: ")  # its keys are told of where it begins
    assert is_variant or all("  # " in line for line in lines[3:])
