"""The package loads to the same model, stock PEFT reads it; nothing changed or foreign passes."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from clintune.config.compose import compose_recipe
from clintune.core.errors import PackageError
from clintune.experiment.fold_data import precompute_pieces
from clintune.experiment.open import open_experiment
from clintune.features.batching import Batches, sequential_batches
from clintune.package.load import load_package
from clintune.package.members import trained_members
from clintune.package.write import write_package
from clintune.training import run as runs
from conftest import write_recipe
from helpers.broken_packages import sign


@pytest.fixture(scope="module")
def trained(quickstart, cache, tmp_path_factory):
    """Return a run's config, the model that it packaged, and the package's folder."""
    recipe = write_recipe(tmp_path_factory.mktemp("package"), quickstart, cache)
    config, kept = compose_recipe(recipe, ["modalities.notes.mode=lora"]), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            runs, "write_package", lambda *parts: (kept.append(parts[1]), write_package(*parts))
        )
        run = runs.train_run(config)
    return config, kept[0], run / "package"


@pytest.fixture
def package(trained, tmp_path):
    """Return a copy of the package that the test may break."""
    return shutil.copytree(trained[2], tmp_path / "package")


def outputs(config, package, tmp_path):
    experiment = open_experiment(config)
    rows = np.arange(len(experiment.samples))
    model = package.model.eval()
    caches, _ = precompute_pieces(
        experiment, model.encoders, package.statistics, rows, torch.device("cpu")
    )
    batches = Batches(experiment.samples, model.encoders, caches)
    with torch.no_grad():
        return torch.cat([model(batches[draw])["outcome"] for draw in sequential_batches(rows, 16)])


def refusal(package):
    with pytest.raises(PackageError) as caught:
        load_package(package)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_loaded_package_gives_the_logits_of_the_trained(trained, tmp_path):
    config, model, folder = trained
    loaded = load_package(folder)
    assert torch.equal(outputs(config, loaded, tmp_path), outputs(config, model, tmp_path))
    assert loaded.tasks["outcome"].output_names == ["deterioration"]
    assert trained_members(folder, 1) == [folder]


def test_stock_peft_loads_the_adapter(trained):
    from peft import PeftModel
    from transformers import AutoConfig, AutoModel

    config, model, folder = trained
    base = AutoModel.from_config(AutoConfig.for_model(**dict(config.backbone.config)))
    loaded = PeftModel.from_pretrained(base, folder).state_dict()
    trained_state = model.model.backbone.model.state_dict()
    names = [name for name in loaded if ".lora_" in name]
    assert names
    assert all(torch.equal(loaded[name], trained_state[name]) for name in names)


def test_one_flipped_byte_in_any_file_is_refused_by_name(package):
    for path in sorted(package.iterdir()):
        if path.name == "MANIFEST.json":
            continue
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        whole = path.read_bytes()
        path.write_bytes(content)
        assert f"{path.name} is missing or changed" in refusal(package)
        path.write_bytes(whole)
    load_package(package)


def test_a_file_too_many_or_too_few_is_refused_by_name(package):
    (package / "more.json").write_text("{}")
    assert "more.json is not listed" in refusal(package)
    (package / "more.json").unlink()
    (package / "README.md").unlink()
    assert "README.md is missing" in refusal(package)
    (package / "MANIFEST.json").unlink()
    assert "no MANIFEST.json" in refusal(package)


@pytest.mark.parametrize("file", ["parts.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize("change", ["renamed", "dropped", "reshaped"])
def test_a_tensor_that_does_not_fit_is_refused_by_name(package, file, change):
    tensors = load_file(package / file)
    name = next(iter(tensors))
    value = tensors.pop(name)
    if change == "renamed":
        tensors[f"{name}x"] = value
    if change == "reshaped":
        tensors[name] = value[..., :0].clone()
    save_file(tensors, package / file)
    sign(package)
    assert name in refusal(package)


@pytest.mark.parametrize(
    "name", ["model.pkl", "pytorch_model.bin", "code.py", "parts.safetensors.pt"]
)
def test_a_listed_file_that_could_run_code_is_refused(package, name):
    (package / name).write_bytes(pickle.dumps({}))
    sign(package)
    assert f"{name} is no safetensors or text file" in refusal(package)


def test_a_pickle_under_the_name_of_tensors_is_refused(package):
    tensors = load_file(package / "parts.safetensors")
    (package / "parts.safetensors").unlink()  # the tensors are mapped from it
    torch.save(tensors, package / "parts.safetensors")
    sign(package)
    assert "parts.safetensors: not a safetensors file" in refusal(package)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/outside.json", "member-0/../../outside.json"]
)
def test_a_path_that_leaves_the_folder_is_refused(package, name):
    listed = json.loads((package / "MANIFEST.json").read_text())
    (package / "MANIFEST.json").write_text(json.dumps(listed | {name: "0" * 64}))
    refusal(package)


def test_a_head_that_is_missing_is_refused_by_name(package):
    tensors = load_file(package / "parts.safetensors")
    heads = [name for name in tensors if name.startswith("heads.outcome.of_query")]
    save_file(
        {name: value for name, value in tensors.items() if name not in heads},
        package / "parts.safetensors",
    )
    sign(package)
    assert "heads.outcome.of_query" in refusal(package)


def test_other_base_weights_than_those_trained_on_are_refused(package):
    about = yaml.safe_load((package / "clintune.yaml").read_text())
    about["weights"]["notes"] = {"source": "bundled:minilm", "revision": None, "sha256": "0" * 64}
    (package / "clintune.yaml").write_text(yaml.safe_dump(about))
    sign(package)
    assert "notes was trained on other base weights" in refusal(package)


def test_a_trusted_module_may_bring_its_own_classes_alone(package, monkeypatch):
    path = package / "clintune.yaml"
    path.write_text(
        path.read_text().replace("clintune.tasks.binary.Binary", "clintune.tasks.base.read_labels")
    )
    sign(package)
    assert "read_labels is no task" in refusal(package)

    path.write_text(path.read_text().replace("clintune.tasks.base.read_labels", "mine.Outcome"))
    sign(package)
    assert "of no trusted module" in refusal(package)

    (package.parent / "mine.py").write_text(
        "from clintune.tasks.binary import Binary\n\n\nclass Outcome(Binary): pass\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    for trusted in (["mine"], "mine"):
        made = load_package(package, trusted=trusted).tasks["outcome"]
        assert type(made).__name__ == "Outcome"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda about: about["composition"]["backbone"].update(revision="${oc.env:HOME}"),
            "variables of this machine",
        ),
        (
            lambda about: about["composition"]["backbone"].update(sourse="x"),
            "backbone.sourse is a key that no recipe",
        ),
        (lambda about: about.pop("precision"), "lacks precision"),
        (lambda about: about["weights"].pop("notes"), "lacks weights.notes"),
        (lambda about: about["composition"]["tasks"].update(outcome=3), "outcome is no mapping"),
    ],
)
def test_a_hostile_or_other_description_is_refused(package, change, says):
    about = yaml.safe_load((package / "clintune.yaml").read_text())
    change(about)
    (package / "clintune.yaml").write_text(yaml.safe_dump(about))
    sign(package)
    assert says in refusal(package)


def test_a_target_deeper_than_a_part_is_refused(package):
    about = yaml.safe_load((package / "clintune.yaml").read_text())
    about["composition"]["backbone"]["config"]["inner"] = {
        "_target_": "clintune.tasks.binary.Binary"
    }
    (package / "clintune.yaml").write_text(yaml.safe_dump(about))
    sign(package)
    assert "backbone.config.inner" in refusal(package)


@pytest.mark.parametrize(
    "target", ["os.system", "builtins.open", "clintune.cli.main", "clintunex.tasks.Binary"]
)
def test_a_foreign_target_is_refused_and_not_called(package, target):
    path = package / "clintune.yaml"
    path.write_text(path.read_text().replace("clintune.tasks.binary.Binary", target))
    sign(package)
    assert target in refusal(package)


def test_no_file_of_a_package_is_a_pickle(trained):
    suffixes = {path.suffix for path in trained[2].iterdir()}
    assert suffixes == {".safetensors", ".json", ".yaml", ".md"}
