"""Keys of caches follow settings, users' code and what an encoder needs, and nothing else."""

import importlib
import pickle
from copy import copy

import pytest
from hydra.utils import instantiate

from clintune.features.cache_key import cache_key
from clintune.modalities.imaging import Imaging
from helpers.components import component, names
from helpers.opened_samples import small_imaging

OWN = """
from clintune.modalities.image_reader import ImageReader
from clintune.modalities.imaging import Imaging

class Own(Imaging):
    def __init__(self, *, shade: float = 0.5, **settings):
        super().__init__(**settings)
        self.reader = OwnReader(**self.reader.arguments)

class OwnReader(ImageReader):
    shade = {shade}
"""


def test_arguments_are_kept_with_defaults_and_travel():
    modality = Imaging(source="random", config={"architecture": "cnn"}, fit="crop")
    assert modality.arguments["source"] == "random"
    assert modality.arguments["fit"] == "crop"
    assert modality.arguments["regions"] == 0

    kept = {"square": "crop", "flip": False, "views": 1, "max_pieces": 4, "codes": None}
    assert modality.reader.arguments == kept
    assert copy(modality.reader).arguments == kept
    assert pickle.loads(pickle.dumps(modality.reader)).arguments == kept


ALONE = [name for name in names("modality") if not name.endswith("native")]  # needs no backbone


@pytest.mark.parametrize("name", ALONE)
def test_every_key_of_a_config_is_an_argument(name):
    node = component("modality", name)
    modality = instantiate(node, _convert_="all")
    for key, value in node.items():
        if not key.startswith("_"):
            assert modality.arguments[key] == value


def test_the_code_of_users_counts_by_its_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "own_images.py"
    settings = {"source": "random", "config": {"architecture": "cnn", "widths": [4]}, "size": 16}

    def key(shade):
        file.write_text(OWN.format(shade=shade))
        importlib.invalidate_caches()
        own = importlib.import_module("own_images").Own(**settings)
        own.build({})
        return cache_key(own, {}, "fp32")

    assert key(0.5) == key(0.5) != key(0.25)


def test_a_trained_encoder_does_not_count_for_what_it_reads():
    def key(**settings):
        return cache_key(small_imaging(**settings), {}, "fp32")

    assert key(mode="full") == key(mode="full", regions=2) != key(mode="full", size=32)
    assert key() != key(regions=2)
