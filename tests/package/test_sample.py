"""The stored sample: a loaded package repeats the written answers, and a changed one does not."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from clintune.core.errors import PackageError
from clintune.package.load import load_package
from clintune.package.manifest import write_manifest
from clintune.package.sample import SAMPLE, write_sample


@pytest.fixture(scope="module")
def packaged(shared_run, tmp_path_factory):
    """Return a package with a sample."""
    run = shared_run("trainer.max_steps=2")
    package = shutil.copytree(run / "package", tmp_path_factory.mktemp("sample") / "package")
    write_sample(package, load_package(package))
    write_manifest(package)
    return package


@pytest.fixture
def package(packaged, tmp_path):
    """Return a copy of the package that the test may break."""
    return shutil.copytree(packaged, tmp_path / "package")


def test_the_sample_has_every_modality_and_every_answer(package):
    names = load_file(package / SAMPLE)
    assert {name.partition("/")[0] for name in names} == {
        "answer",
        "imaging",
        "notes",
        "static",
        "wearable",
    }
    load_package(package)


def test_weights_that_answer_otherwise_are_refused(package):
    tensors = load_file(package / "parts.safetensors")
    tensors["heads.outcome.of_query.bias"] += 0.01
    save_file(tensors, package / "parts.safetensors")
    write_manifest(package)
    with pytest.raises(PackageError, match="task outcome does not answer to"):
        load_package(package)


def test_a_sample_of_another_model_is_refused(package):
    tensors = {
        name: value
        for name, value in load_file(package / SAMPLE).items()
        if name.startswith("answer/")
    }
    save_file(
        tensors | {"notes/tensors/other": torch.zeros(1, 3), "notes/hours": torch.zeros(1)},
        package / SAMPLE,
    )
    write_manifest(package)
    with pytest.raises(PackageError, match="no sample of this model"):
        load_package(package)
