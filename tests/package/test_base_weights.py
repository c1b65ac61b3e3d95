"""A package's base weights: each file read is that of training, and none of them runs code."""

import ast
import contextlib
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from clintune.core.errors import WeightsError
from clintune.package.load import load_package
from clintune.package.manifest import write_manifest
from clintune.package.sample import write_sample
from clintune.weights import load_transformer, resolve
from clintune.weights.base_files import IMPLEMENTATIONS, asks_too_much, is_read
from clintune.weights.sources import _HUB_FILES
from helpers.broken_packages import describe, refusal

SOURCE = Path(__file__).parents[2] / "src" / "clintune"
LOADERS = {"from_pretrained", "from_config", "load_dataset"}
CODE = "from pathlib import Path\n\nPath({!r}).touch()\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a base with the tokenizer of MiniLM and a fiftieth of its weights."""
    bundled = resolve("bundled:minilm").path
    folder = shutil.copytree(
        bundled,
        tmp_path_factory.mktemp("small") / "base",
        ignore=shutil.ignore_patterns("*.safetensors", "onnx"),
    )
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    config = AutoConfig.from_pretrained(bundled, num_attention_heads=2, **sizes)
    AutoModel.from_config(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def base(small, tmp_path):
    """Return a copy of a base that a test may break."""
    return shutil.copytree(small, tmp_path / "base")


@pytest.fixture(scope="module")
def own(shared_run, small):
    """Return the package of a run on a folder of this machine."""
    native = [f"backbone.source={small}", "backbone.config=null", "backbone.sha256=null"]
    notes = [
        "modalities.notes.config=null",
        f"modalities.notes.source={small}",
        "modalities.notes.tokenizer=null",
    ]
    return shared_run("backbone=minilm", *native, *notes, "trainer.max_steps=2") / "package"


@pytest.fixture(params=["run", "release"])
def placed(request, own, base, tmp_path):
    """Return copies of the package, with or without a sample, and of the base that it names."""
    package = shutil.copytree(own, tmp_path / "package")
    sources = {"backbone": str(base), "notes": str(base)}
    if request.param == "release":
        write_sample(package, load_package(package))
        write_manifest(package)
    return package, base, sources


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_package_loads_on_a_copy_of_its_base(placed):
    package, _, sources = placed
    load_package(package, sources=sources)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "config.json", "vocab.txt"]
)
def test_a_file_of_the_base_that_was_changed_is_named(placed, name):
    package, base, sources = placed
    path = base / name
    if name == "vocab.txt":
        path.write_text(path.read_text() + "\n")
    elif name == "tokenizer.json":
        vocabulary = json.loads(path.read_text())["model"]
        vocabulary["vocab"]["fever"], vocabulary["vocab"]["pain"] = (
            vocabulary["vocab"]["pain"],
            vocabulary["vocab"]["fever"],
        )
        edit(path, model=vocabulary)
    else:
        edit(path, hidden_act="relu") if name == "config.json" else edit(path, note="changed")
    assert f"{name} differs" in refusal(package, sources=sources)


def test_a_file_of_the_base_that_was_added_or_removed_is_named(placed):
    package, base, sources = placed
    (base / "added_tokens.json").write_text("{}")
    assert "added_tokens.json differs" in refusal(package, sources=sources)
    (base / "added_tokens.json").unlink()
    (base / "special_tokens_map.json").unlink()
    assert "special_tokens_map.json differs" in refusal(package, sources=sources)


def test_a_package_without_the_checksums_of_its_base_is_refused(placed):
    package, _, sources = placed
    describe(package, lambda about: about["weights"]["notes"].pop("files"))
    assert "other base weights" in refusal(package, sources=sources)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_base_is_neither_run_nor_asked_for(base, tmp_path, monkeypatch, name):
    ran = tmp_path / "ran"
    (base / "evil.py").write_text(CODE.format(str(ran)))
    classes = dict.fromkeys(
        ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoImageProcessor"), "evil.Evil"
    )
    edit(base / name, auto_map=classes, model_type="evil" if name == "config.json" else "bert")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 10))

    from clintune.modalities.notes import Notes

    for load in (
        lambda: load_transformer(resolve(str(base))),
        lambda: Notes(source=str(base)).build({}),
    ):
        with contextlib.suppress(WeightsError):
            load()
    assert not ran.exists()


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "experts_implementation"]
)
@pytest.mark.parametrize(
    "value", ["org/kernel", "flash_attention_2|org/kernel", "kernels-community/x", 3, {"": "a/b"}]
)
def test_an_implementation_not_ours_is_refused_however_deep(base, key, value):
    edit(base / "config.json", text_config={"deeper": [{key: value}]})
    with pytest.raises(WeightsError, match=f"asks for {key}"):
        resolve(str(base))


def test_a_base_that_is_an_adapter_of_another_is_refused(base):
    (base / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/base"}')
    with pytest.raises(WeightsError, match="names another base"):
        resolve(str(base))


@pytest.mark.parametrize(
    "change", [{"hidden_size": 10**6}, {"num_hidden_layers": 10**6}, {"hidden_size": 10**9}]
)
def test_a_config_that_asks_for_more_than_weights_is_refused(base, change):
    edit(base / "config.json", **change)
    with pytest.raises(WeightsError, match="asks for"):
        load_transformer(resolve(str(base)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"configuration_files": ["config.4.0.0.json"]}),
        ("config.json", {"transformers_weights": "sub/model.safetensors"}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}),
    ],
    ids=str,
)
def test_a_base_that_leads_to_an_unlisted_file_is_refused(base, name, change):
    (base / "config.4.0.0.json").write_text((base / "config.json").read_text())
    (base / "tokenizer.4.0.0.json").write_text((base / "tokenizer.json").read_text())
    edit(base / name, **change)
    with pytest.raises(WeightsError, match=f"{name} leads to files without a checksum"):
        resolve(str(base))


@pytest.mark.parametrize(
    "target", ["../other.safetensors", "sub/w.safetensors", "w.bin", "/dev/zero", "", 3, ["a"]]
)
def test_an_index_leads_to_hashed_files_of_the_folder_alone(base, target):
    weights = load_file(base / "model.safetensors")
    (base / "model.safetensors").rename(base / "model-00001-of-00001.safetensors")
    (base / "sub").mkdir()
    for place in (
        base / "sub" / "w.safetensors",
        base.parent / "other.safetensors",
        base / "w.bin",
    ):
        save_file(weights, place, metadata={"format": "pt"})

    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, target)}))
    with pytest.raises(WeightsError, match=r"index\.json leads to"):
        resolve(str(base))

    index.write_text(
        json.dumps(
            {
                "metadata": {},
                "weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors"),
            }
        )
    )
    load_transformer(resolve(str(base)))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{}", '{"weight_map": []}'])
def test_an_index_that_is_none_is_refused(base, text):
    (base / "model.safetensors.index.json").write_text(text)
    with pytest.raises(WeightsError, match=r"index\.json"):
        resolve(str(base))


@pytest.mark.parametrize(
    "value", [{"quant_method": "mxfp4"}, {"quant_method": "zzz"}, {"load_in_4bit": True}, "x", []]
)
def test_a_base_of_packed_weights_is_refused_however_deep(small, base, value):
    for change in ({"quantization_config": value}, {"text_config": {"compression_config": value}}):
        edit(base / "config.json", **change)
        with pytest.raises(WeightsError, match="weights are packed"):
            resolve(str(base))
        shutil.copy(small / "config.json", base / "config.json")
    edit(base / "config.json", quantization_config=None)
    resolve(str(base))


@pytest.mark.parametrize(
    "name", ["config.json", "more.safetensors", "tokenizer.json", "spiece.model"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "nowhere"])
def test_what_is_no_plain_file_is_never_opened(base, name, kind):
    (base / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(base / name)
    else:
        (base / name).symlink_to("/dev/zero" if kind == "device" else "/nowhere")
    with pytest.raises(WeightsError, match=f"{name} is no plain file"):
        resolve(str(base))


def test_every_vocabulary_of_a_tokenizer_has_a_checksum():
    import transformers

    names = set()
    for path in (Path(transformers.__file__).parent / "models").glob("*/tokenization_*.py"):
        for table in re.findall(r"^VOCAB_FILES_NAMES = {(.*?)}", path.read_text(), re.S | re.M):
            names |= set(re.findall(r': "([^"]+)"', table))
    assert {"tokenizer.json", "vocab.txt", "spiece.model"} < names
    assert [name for name in sorted(names) if not is_read(Path(name))] == []


@pytest.mark.parametrize(
    "change", [{"num_labels": 2**24}, {"depth": 2**20}, {"depths": [2, 2**20]}, {"n_layer": 2**20}]
)
def test_a_config_of_too_many_labels_or_layers_is_refused(base, change):
    edit(base / "config.json", **change)
    with pytest.raises(WeightsError, match=r"config\.json asks for"):
        resolve(str(base))


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\x00"])
def test_a_config_that_is_no_json_is_refused(base, text):
    (base / "config.json").write_text(text)
    with pytest.raises(WeightsError, match="not JSON"):
        resolve(str(base))


@given(st.text().filter(lambda name: name not in IMPLEMENTATIONS))
def test_no_other_name_of_an_implementation_passes(name):
    assert list(asks_too_much({"a": [{"attn_implementation": name}]}))


def test_what_is_fetched_of_a_base_is_no_code():
    assert all(
        pattern.rpartition(".")[2] in {"safetensors", "json", "txt", "model"}
        for pattern in _HUB_FILES
    )


def calls():
    """Yield every call in the source, with its place."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr
                    if isinstance(node.func, ast.Attribute)
                    else getattr(node.func, "id", "")
                )
                yield (
                    f"{path.relative_to(SOURCE)}:{node.lineno}",
                    name,
                    {word.arg: word.value for word in node.keywords},
                )


def says(words, key, value):
    return isinstance(words.get(key), ast.Constant) and words[key].value is value


def test_every_loader_of_models_refuses_their_code():
    found = [(place, words) for place, name, words in calls() if name in LOADERS]
    assert found
    assert [place for place, words in found if not says(words, "trust_remote_code", False)] == []


def test_torch_loads_nothing_but_weights():
    loads = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "torch.load(" in line and "weights_only=True" not in line
    ]
    assert loads == []
