"""A stranger's package with a right manifest: each trick is refused in one line, none obeyed."""

import contextlib
import json
import pickle
import shutil
import time

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clintune.core.errors import PackageError
from clintune.inference.load import load
from clintune.package import plain
from clintune.package.load import load_package
from clintune.weights import resolve
from helpers.broken_packages import describe, refusal, sign

PARTS, ADAPTER, ABOUT = "parts.safetensors", "adapter_model.safetensors", "clintune.yaml"


@pytest.fixture(scope="module")
def whole(shared_run):
    """Return the package of a run with every kind of modality."""
    return shared_run("trainer.max_steps=2") / "package"


@pytest.fixture
def package(whole, tmp_path):
    """Return a copy of the package that the test may break."""
    return shutil.copytree(whole, tmp_path / "package")


def set_at(*path):
    """Return a function that puts a value into a description at a path."""
    *parents, last = path

    def put(about, value):
        for key in parents:
            about = about[key]
        about[last] = value

    return put


def rewrite(package, old, new):
    """Change the text of a description."""
    text = (package / ABOUT).read_text()
    assert old in text
    (package / ABOUT).write_text(text.replace(old, new, 1))
    sign(package)


SECRET = "a-variable-of-this-machine"
INTERPOLATIONS = [
    r'"\x24{oc.env:CLINTUNE_TEST_SECRET}"',
    r'"\u0024{oc.env:CLINTUNE_TEST_SECRET}"',
    r'"nobody/$\x7Boc.env:CLINTUNE_TEST_SECRET}"',
    r'"\U00000024\u007Boc.decode:${oc.env:CLINTUNE_TEST_SECRET}}"',
    "${oc.env:CLINTUNE_TEST_SECRET}",
    '"???"',
]


@pytest.mark.parametrize("value", INTERPOLATIONS)
@pytest.mark.parametrize(
    "key",
    ["  name: recipe", "      label: deterioration", "      transform: log1p", "precision: fp32"],
)
def test_no_value_of_a_package_reads_a_variable_of_this_machine(package, monkeypatch, key, value):
    monkeypatch.setenv("CLINTUNE_TEST_SECRET", SECRET)
    rewrite(package, key, f"{key.partition(': ')[0]}: {value}")
    assert SECRET not in refusal(package)


@pytest.mark.parametrize("value", INTERPOLATIONS)
def test_no_source_asks_a_hub_for_a_variable_of_this_machine(package, monkeypatch, value):
    monkeypatch.setenv("CLINTUNE_TEST_SECRET", SECRET)
    rewrite(package, "    source: random", f"    source: {value}")
    assert SECRET not in refusal(package)


def test_no_key_of_a_package_is_resolved(package):
    rewrite(package, "      AGE:", r'      "\x24{oc.env:HOME}":')
    assert "variables of this machine" in refusal(package)


NINES = "a0: &a0 x\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(11)
)


@pytest.mark.parametrize(
    "text",
    [
        NINES,
        "a: &a [*a]\n",
        "a: " + "[" * 20_000,
        "a: " + "{a: " * 20_000,
        "<<: {format: 2}\n",
        "a: !!python/object/apply:os.system [true]\n",
        "a: !!str 3\n",
        "a: 2020-13-45\n",
        "a: 2020-01-01\n",
        "a: .nan\n",
        "a: -.inf\n",
        "a: 1e999\n",
        "a: " + "9" * 6000 + "\n",
        "[a]: 1\n",
        "? {a: 1}\n: 1\n",
        "1.5: a\n",
        "a: 1\n---\nb: 2\n",
        "a: \0\n",
        "",
        "[" + "1, " * 60_000 + "1]",
        "seed: 1" + ":1" * 500_000 + "\n",
        "seed: 1" + ":1" * 500_000 + ".5\n",
        "1" + ":1" * 10 + ": a\n",
        "a: 0x" + "f" * 2_000_000 + "\n",
        "a: " + "1" * 200 + ".5\n",
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_yaml_that_is_more_than_plain_values_is_refused_at_once(package, text):
    (package / ABOUT).write_text(text)
    sign(package)
    start = time.monotonic()
    refusal(package)
    assert time.monotonic() - start < 60  # it took minutes, or for ever: no measure of speed


def test_a_description_of_many_bytes_is_not_read(package, monkeypatch):
    monkeypatch.setattr(plain, "MOST_BYTES", 1000)
    assert "larger than" in refusal(package)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("format",), 3, "is not of format 2"),
        (("format",), True, "is not of format 2"),
        (("clintune",), "\x1b]0;owned\x07", "clintune is not what"),
        (("seed",), -1, "seed is no"),
        (("seed",), True, "seed is no"),
        (("precision",), "fp7", "precision is none of"),
        (("unknown",), 1, "unknown key unknown"),
        (("composition", "cohorts"), {}, "unknown key composition.cohorts"),
        (("composition", "name"), "../x", "leaves its folder"),
        (("composition", "backbone", "trust_remote_code"), True, "a key that no recipe has"),
        (("composition", "backbone", "dtype"), "int64", "backbone.dtype is none of"),
        (("composition", "adapter", "r"), 10**9, "adapter.r is out of bounds"),
        (("composition", "adapter", "r"), 9, "is not the rank of"),
        (("composition", "adapter", "r"), "8", "adapter.r is out of bounds"),
        (
            ("composition", "adapter", "targets"),
            "(.*)*(.*)*(.*)*x",
            "neither a list of names nor all-linear",
        ),
        (("composition", "adapter", "targets"), [3], "neither a list of names nor all-linear"),
        (("composition", "adapter", "mode"), "all", "none of its choices"),
        (("composition", "tasks", "outcome", "label"), "../../../../etc/x", "leaves its folder"),
        (("composition", "tasks", "outcome", "label"), "/etc/x", "leaves its folder"),
        (
            ("composition", "tasks", "outcome", "_partial_"),
            True,
            "_partial_, which does not belong",
        ),
        (("composition", "tasks", "outcome", "_args_"), [1], "_args_, which does not belong"),
        (
            ("composition", "tasks", "outcome", "_convert_"),
            "all",
            "_convert_, which does not belong",
        ),
        (
            ("composition", "tasks", "outcome", "_recursive_"),
            True,
            "_recursive_, which does not belong",
        ),
        (
            ("composition", "modalities", "imaging", "config", "_target_"),
            "os.getcwd",
            "_target_, which does not",
        ),
        (
            ("composition", "backbone", "config", "_attn_implementation"),
            "x/y",
            "which does not belong",
        ),
        (
            ("composition", "backbone", "config", "attn_implementation"),
            "x/kernel",
            "none of eager, sdpa",
        ),
        (
            ("composition", "backbone", "config", "auto_map"),
            {"AutoModel": "a--b.C"},
            "no setting of an architecture",
        ),
        (("composition", "backbone", "config", "hidden_size"), 10**8, "out of bounds"),
        (
            ("composition", "backbone", "config", "hidden_size"),
            10**6,
            "asks for far more than its weights hold",
        ),
        (
            ("composition", "backbone", "config", "num_hidden_layers"),
            4000,
            "asks for far more than its weights hold",
        ),
        (
            ("composition", "backbone", "config", "max_position_embeddings"),
            10**7,
            "asks for far more",
        ),
        (("composition", "modalities", "static", "width"), 10**8, "width is out of bounds"),
        (
            ("composition", "modalities", "static", "width"),
            16_000,
            "asks for far more than its weights hold",
        ),
        (("composition", "modalities", "static", "width"), "8", "width is not a whole number"),
        (("composition", "modalities", "wearable", "depth"), 10**6, "depth is out of bounds"),
        (("composition", "modalities", "wearable", "tokens"), 10**6, "tokens is out of bounds"),
        (("composition", "modalities", "wearable", "rate_hz"), 10**5, "windows of more than"),
        (("composition", "modalities", "imaging", "size"), 10**5, "size is out of bounds"),
        (("composition", "modalities", "imaging", "regions"), 10**5, "regions is out of bounds"),
        (("composition", "modalities", "imaging", "config", "widths"), [10**9], "out of bounds"),
        (
            ("composition", "modalities", "imaging", "config", "widths"),
            [20_000, 20_000],
            "asks for far more",
        ),
        (
            ("composition", "modalities", "imaging", "config"),
            {"architecture": "hf-hub:a/b"},
            "timm makes none of",
        ),
        (
            ("composition", "modalities", "imaging", "config"),
            {"architecture": "resnet18", "checkpoint_path": "/etc/passwd"},
            "timm makes none of checkpoint_path",
        ),
        (("composition", "modalities", "notes", "views"), 3, "no key of its class"),
        (("composition", "modalities", "notes", "source"), "/etc", "set one of the two"),
        (("statistics", "static"), None, "static is no mapping"),
        (("statistics", "static"), {}, "statistics.static have no codes"),
        (("statistics", "static", "codes"), {"A": {"mean": 0.0, "std": 0}}, "std of 0"),
        (("statistics", "static", "codes"), {"A": {"mean": "x", "std": 1.0}}, "no finite number"),
        (("statistics", "static", "codes"), {"A": {"mean": True, "std": 1.0}}, "no finite number"),
        (("statistics", "static", "codes"), {"A": []}, "without mean and std"),
        (("statistics", "wearable", "mean"), "text", "lack a list"),
        (("statistics", "wearable", "mean"), [None], "no finite number"),
        (("statistics", "wearable", "mean"), [1.0, 2.0], "more or fewer"),
        (("statistics", "wearable", "channels"), ["a", "a"], "one twice"),
        (("statistics", "notes"), {"a": 1}, "learns none"),
        (("tasks", "outcome", "state"), None, "state is no mapping"),
        (("tasks", "outcome", "state"), {}, "does not hold class_weights alone"),
        (
            ("tasks", "outcome", "state"),
            {"class_weights": [1.0, 1.0], "more": 1},
            "does not hold class_weights alone",
        ),
        (
            ("tasks", "outcome", "state"),
            {"class_weights": ["1", "1"]},
            "does not hold class_weights alone",
        ),
        (
            ("tasks", "outcome", "state"),
            {"class_weights": [1.0, -1.0]},
            "two class_weights above 0",
        ),
        (("tasks", "outcome", "state"), {"class_weights": [1.0] * 3}, "two class_weights above 0"),
        (("statistics", "static", "more"), 1, "static hold the unknown key more"),
        (("statistics", "wearable", "more"), 1, "wearable hold the unknown key more"),
        (("statistics", "wearable", "min_subjects"), "11", "min_subjects that is no whole number"),
        (("statistics", "static", "num_rare"), -1, "num_rare that is no whole number"),
        (("composition", "modalities", "wearable", "rate_hz"), 0, "of less than one"),
        (("composition", "modalities", "wearable", "rate_hz"), -1.0, "of less than one"),
        (("composition", "modalities", "wearable", "rate_hz"), 1e-300, "of less than one"),
        (("composition", "modalities", "wearable", "window_hours"), 0, "of less than one"),
        (("composition", "modalities", "wearable", "window_hours"), -24, "of less than one"),
        (("composition", "modalities", "wearable", "patch"), 0, "patch is out of bounds"),
        (("composition", "modalities", "wearable", "depth"), -1, "depth is out of bounds"),
        (
            ("composition", "modalities", "notes", "overlap_tokens"),
            -1,
            "overlap_tokens is out of bounds",
        ),
        (
            ("composition", "modalities", "notes", "chunk_tokens"),
            -5,
            "chunk_tokens is out of bounds",
        ),
        (("composition", "modalities", "imaging", "regions"), -1, "regions is out of bounds"),
        (("composition", "modalities", "imaging", "size"), 0, "size is out of bounds"),
        (("composition", "modalities", "imaging", "size"), 4096, "size is out of bounds"),
        (
            ("composition", "modalities", "imaging", "config", "depth"),
            2**24,
            "depth is out of bounds",
        ),
        (("composition", "modalities", "imaging", "config", "depths"), [2, 2**24], "out of bounds"),
        (("composition", "backbone", "config", "num_labels"), 2**24, "num_labels is out of bounds"),
        (
            ("composition", "backbone", "config", "num_hidden_layers"),
            2**24,
            "num_hidden_layers is out of bounds",
        ),
        (("tasks", "outcome", "outputs"), ["other"], "other outputs than its state"),
        (("tasks", "outcome", "outputs"), ["a", "a"], "no list of different names"),
        (("weights", "notes", "source"), {"a": 1}, "weights.notes.source is not what"),
        (("weights", "notes", "tokenizer", "files"), {"../x": "0" * 64}, "leaves its folder"),
        (
            ("weights", "notes", "tokenizer", "files"),
            {"tokenizer.json": "0" * 64},
            "other base weights",
        ),
        (("weights", "notes", "tokenizer", "sha256"), "0" * 64, "other base weights"),
    ],
    ids=str,
)
def test_a_value_that_is_none_of_ours_is_refused_by_its_key(package, path, value, says):
    describe(package, lambda about: set_at(*path)(about, value))
    start = time.monotonic()
    assert says in refusal(package)
    assert time.monotonic() - start < 60  # as above


@pytest.mark.parametrize(
    "name", ["/abs/path", "../up", "a/b", "..", "", "x\x1b[2J", "a\\b", "x" * 300]
)
def test_a_task_or_modality_named_like_a_path_is_refused(package, name):
    for section in ("tasks", "modalities"):
        broken = shutil.copytree(package, package.parent / section)

        def rename(about, section=section):
            parts = about["composition"][section]
            old = next(iter(parts))
            for node in (parts, about["tasks"] if section == "tasks" else about["weights"]):
                node[name] = node.pop(old)
            if section == "modalities":
                about["statistics"][name] = about["statistics"].pop(old)

        describe(broken, rename)
        assert f"a name in {section}" in refusal(broken)


def test_a_phenotype_named_like_a_path_is_refused(package):
    def change(about):
        part = about["composition"]["tasks"]["outcome"]
        part["_target_"] = "clintune.tasks.multilabel.Multilabel"
        del part["class_weight"]
        about["tasks"]["outcome"] = {
            "state": {"phenotypes": ["../../away"]},
            "outputs": ["../../away"],
        }

    describe(package, change)
    assert "a phenotype of outcome" in refusal(package)


def test_a_phenotype_that_hides_its_file_is_refused(package):
    def change(about):
        part = about["composition"]["tasks"]["outcome"]
        part["_target_"] = "clintune.tasks.multilabel.Multilabel"
        del part["class_weight"]
        about["tasks"]["outcome"] = {"state": {"phenotypes": [".hidden"]}, "outputs": [".hidden"]}

    describe(package, change)
    assert "begins with a dot" in refusal(package)


@pytest.mark.parametrize("days", [0, -1, 366 * 24])
def test_a_rhythm_of_no_days_is_refused(package, days):
    def change(about):
        part = about["composition"]["modalities"]["wearable"]
        part.clear()
        part |= {"_target_": "clintune.modalities.rhythm.Rhythm", "days": days}

    describe(package, change)
    assert "days is out of bounds" in refusal(package) or "windows of" in refusal(package)


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("composition",),
        ("composition", "backbone"),
        ("composition", "modalities", "notes"),
        ("composition", "tasks", "outcome"),
        ("weights", "notes"),
        ("statistics", "static"),
        ("statistics", "wearable"),
        ("tasks", "outcome"),
    ],
    ids=str,
)
@pytest.mark.parametrize("key", ["k", "_k", "\x1b"])
def test_a_key_of_many_characters_is_shown_in_one_short_line(package, place, key):
    describe(package, lambda about: set_at(*place, key * 100_000)(about, -1))
    assert len(refusal(package)) < 1500


def test_an_adapter_of_many_characters_is_one_short_line(package):
    path = package / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "z" * 10**6: 1}))
    sign(package)
    assert len(refusal(package)) < 1500
    changed(package, PARTS, lambda tensors: tensors.update({"z" * 10**6: torch.zeros(1)}))
    assert len(refusal(package)) < 1500


def test_a_tensor_of_many_characters_is_one_short_line(package):
    save_file({"z" * 10**6: torch.full((1,), float("nan"))}, package / "sample.safetensors")
    sign(package)
    assert len(refusal(package)) < 1500


@pytest.mark.parametrize(
    "home", ["clintune.modalities" + ".b" * 900, "clintune.modalities.b" + "b" * 10**6]
)
def test_a_class_of_many_modules_is_never_looked_for(package, home):
    describe(
        package,
        lambda about: set_at("composition", "modalities", "notes", "_target_")(about, f"{home}.C"),
    )
    assert "names no class" in refusal(package)


def test_what_a_library_in_rust_gives_up_on_is_refused(package, tmp_path):
    base = shutil.copytree(resolve("bundled:minilm").path, tmp_path / "base")
    whole = json.loads((base / "tokenizer.json").read_text())
    whole["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (base / "tokenizer.json").write_text(json.dumps(whole))
    describe(
        package,
        lambda about: set_at("composition", "modalities", "notes", "tokenizer")(about, str(base)),
    )
    assert "do not use it" in refusal(package)


@pytest.mark.parametrize("name", ["lora_A", "lora_B"])
def test_a_task_or_modality_named_like_an_adapter_is_loaded(package, name):
    def rename(about):
        for section, old in (("tasks", "outcome"), ("modalities", "static")):
            about["composition"][section][name] = about["composition"][section].pop(old)
        about["tasks"][name] = about["tasks"].pop("outcome")
        for node in (about["weights"], about["statistics"]):
            node[name] = node.pop("static")

    def rename_tensors(tensors):
        for old in list(tensors):
            words = old.split(".")
            if words[0] in ("heads", "modalities", "projectors") and words[1] in (
                "outcome",
                "static",
            ):
                words[1] = name
            tensors[".".join(name if word == "static" else word for word in words)] = tensors.pop(
                old
            )

    describe(package, rename)
    changed(package, PARTS, rename_tensors)
    load_package(package)


def test_a_package_of_before_there_were_formats_says_what_to_do(package):
    describe(package, lambda about: about.pop("format"))
    assert "publish or train it anew" in refusal(package)


@pytest.mark.parametrize(
    "target", ["os.system\n\x1b]0;x\x07clintune: all is well", "a" * 5000, "mine.Task; x", ["a"]]
)
def test_a_class_that_is_no_name_is_shown_on_one_line(package, target):
    describe(
        package, lambda about: set_at("composition", "tasks", "outcome", "_target_")(about, target)
    )
    assert len(refusal(package)) < 1000


def test_an_untrusted_module_names_the_word_to_add(package):
    rewrite(package, "clintune.tasks.binary.Binary", "mytasks.sub.Outcome")
    line = refusal(package)
    assert all(
        words in line for words in ("trusted=[mytasks]", "--trust mytasks", 'trusted=["mytasks"]')
    )


def test_all_untrusted_modules_are_named_at_once(package):
    rewrite(package, "clintune.tasks.binary.Binary", "mytasks.sub.Outcome")
    rewrite(package, "clintune.modalities.notes.Notes", "phq.Scores")
    line = refusal(package)
    assert "phq.Scores, mytasks.sub.Outcome is of no trusted module" in line
    assert "if you trust them, add trusted=[mytasks,phq] to predict" in line
    assert "--trust mytasks --trust phq" in line
    assert 'trusted=["mytasks", "phq"] to load' in line


def changed(package, file, change):
    """Change the tensors of a file."""
    tensors = {name: value.clone() for name, value in load_file(package / file).items()}
    change(tensors)
    save_file(tensors, package / file)
    sign(package)


@pytest.mark.parametrize("file", [PARTS, ADAPTER])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused(package, file, value):
    changed(package, file, lambda tensors: next(iter(tensors.values())).view(-1)[-1:].fill_(value))
    assert "not finite" in refusal(package)


@pytest.mark.parametrize("file", [PARTS, ADAPTER])
@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.bool, torch.uint8, torch.float64, torch.float16, torch.bfloat16]
)
def test_a_weight_of_another_type_is_refused(package, file, dtype):
    def change(tensors):
        name = sorted(tensors)[0]
        tensors[name] = tensors[name].to(dtype)

    changed(package, file, change)
    assert "has another type" in refusal(package)


def test_a_tensor_with_a_hostile_name_is_shown_on_one_line(package):
    changed(
        package,
        PARTS,
        lambda tensors: tensors.update({"\x1b[2J\nclintune: all is well": torch.zeros(1)}),
    )
    assert "none of the model's" in refusal(package)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b"[]",
        b"3",
        b'{"a": 3}',
        b'{"a": {"dtype": "F32", "shape": [1000000000000, 0], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        b'{"a": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [%s1], "data_offsets": [0, 4]}}' % (b"1000," * 200_000),
        b'{"a": {"dtype": "F32", "shape": [%s1], "data_offsets": [0, 4]}}' % (b"1," * 16),
        b'{"a": {"dtype": "F32", "shape": [90, 90, 90], "data_offsets": [0, 4]}}',
    ],
    ids=lambda header: header[:60].decode(),
)
@pytest.mark.parametrize("file", [PARTS, ADAPTER])
def test_a_header_that_says_what_is_not_there_is_refused(package, file, header):
    (package / file).unlink()
    (package / file).write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    sign(package)
    assert "not a safetensors file" in refusal(package)


@pytest.mark.parametrize("length", [10**9, 2**63, 2**64 - 1])
def test_a_header_longer_than_its_file_is_refused(package, length):
    (package / PARTS).unlink()
    (package / PARTS).write_bytes(length.to_bytes(8, "little") + b"{}")
    sign(package)
    assert "not a safetensors file" in refusal(package)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps({}), "cannot be read as text"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "no description of an adapter"),
        (b'{"r": NaN}', "not finite"),
    ],
    ids=["pickle", "deep", "list", "nan"],
)
def test_an_adapter_described_by_anything_else_is_refused(package, content, says):
    (package / "adapter_config.json").write_bytes(content)
    sign(package)
    assert says in refusal(package)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", 4),
        ("lora_alpha", 1),
        ("target_modules", ["key"]),
        ("use_dora", True),
        ("peft_type", "IA3"),
        ("modules_to_save", ["classifier"]),
        ("base_model_name_or_path", "evil/base"),
        ("revision", "main"),
        ("brand_new_option", "x"),
        ("auto_mapping", {"base_model_class": "system", "parent_library": "os"}),
    ],
)
def test_an_adapter_that_denies_the_composition_is_refused(package, key, value):
    path = package / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    sign(package)
    refusal(package)


@pytest.mark.parametrize("key", ["lora_alpha", "target_modules"])
def test_an_adapter_that_other_tools_take_otherwise_is_refused(package, key):
    path = package / "adapter_config.json"
    whole = json.loads(path.read_text())
    del whole[key]
    path.write_text(json.dumps(whole))
    sign(package)
    assert key in refusal(package)


def test_a_manifest_that_is_a_link_is_not_read(package, tmp_path):
    shutil.move(package / "MANIFEST.json", tmp_path / "elsewhere.json")
    (package / "MANIFEST.json").symlink_to(tmp_path / "elsewhere.json")
    assert "no MANIFEST.json" in refusal(package)


def test_a_member_that_is_a_link_is_not_loaded(package, tmp_path):
    folder = tmp_path / "ensemble"
    folder.mkdir()
    (folder / "member-0").symlink_to(package, target_is_directory=True)
    with pytest.raises(PackageError, match="no folder of a member"):
        load(folder)


FITTED = {
    "exclusive": False,
    "slope": [1.0],
    "intercept": [0.0],
    "floors": [[0.0, 0.0]],
    "reasons": [None],
}


@pytest.mark.parametrize(
    "change",
    [
        {"slope": [float("nan")]},
        {"slope": [1e308]},
        {"slope": [-1.0]},
        {"slope": ["1"]},
        {"slope": [True]},
        {"intercept": [float("inf")]},
        {"floors": [[0.1, 2.0]]},
        {"floors": [[0.1]]},
        {"floors": [0.1]},
        {"reasons": [3]},
        {"exclusive": True},
        {"exclusive": 1},
        {"extra": 1},
        {
            "slope": [1.0] * 3,
            "intercept": [0.0] * 3,
            "floors": [[0.0, 0.0]] * 3,
            "reasons": [None] * 3,
        },
    ],
    ids=str,
)
def test_a_calibration_that_cannot_be_computed_with_is_refused(package, change):
    (package / "calibration.json").write_text(json.dumps({"outcome": FITTED | change}))
    sign(package)
    with pytest.raises(PackageError, match=r"calibration\.json"):
        load(package)


def test_a_calibration_of_finite_numbers_is_loaded(package):
    (package / "calibration.json").write_text(json.dumps({"outcome": FITTED}))
    sign(package)
    load(package)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"other": 1}', '{"\\u001b[2J": 1}', "null"])
def test_a_calibration_of_anything_else_is_refused_on_one_line(package, text):
    (package / "calibration.json").write_text(text)
    sign(package)
    with pytest.raises(PackageError) as caught:
        load(package)
    assert str(caught.value).isprintable()


def test_nothing_of_a_package_reaches_into_the_environment(package, monkeypatch):
    monkeypatch.setenv("CLINTUNE_TEST_SECRET", SECRET)
    config = load_package(package).config
    assert "${" not in yaml.safe_dump(yaml.safe_load((package / ABOUT).read_text()))
    assert SECRET not in str(config)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda part: st.lists(part, max_size=3),
    )
)
@settings(max_examples=50, deadline=None)
def test_plain_json_comes_back_as_it_is_or_is_refused(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("plain") / "value.json"
    path.write_text(json.dumps(value))
    with contextlib.suppress(PackageError):
        assert plain.read_json(path) == value
