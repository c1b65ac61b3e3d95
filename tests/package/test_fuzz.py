"""Whatever stands in a package, nothing but a PackageError of one line comes of reading it.

Each target starts from a package that loads and changes it, as values or as bytes.
The manifest always agrees. CLINTUNE_FUZZ_SECONDS is how long the slow lane tries all targets
together, 20 minutes if it is not set.
"""

import contextlib
import copy
import json
import os
import shutil
import time

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from clintune.core.errors import PackageError
from clintune.inference.load import load
from clintune.package.calibrations import read_calibrations, write_calibrations
from clintune.package.description import read_description
from clintune.package.load import load_package
from clintune.package.manifest import read_manifest, write_manifest
from clintune.package.sample import SAMPLE, write_sample
from clintune.package.tensors import package_headers, read_tensors
from clintune.tasks.calibration import Calibration
from clintune.tasks.questions import yes_or_no
from helpers.broken_packages import sign

SECONDS = float(os.environ.get("CLINTUNE_FUZZ_SECONDS", "1200"))
TENSORS = ("parts.safetensors", "adapter_model.safetensors", SAMPLE)
TARGETS = (
    "description",
    "description bytes",
    "whole",
    "adapter",
    "manifest",
    "calibration",
    "headers",
    "tensors",
)

PROBABILITY = np.array([[0.2]], np.float32)
HOSTILE = st.sampled_from(
    [
        *(
            "",
            "../x",
            "/etc/passwd",
            "a/b",
            "~",
            "random",
            "bundled:minilm",
            "timm:resnet18",
            "${oc.env:HOME}",
            "???",
        ),
        *(
            "\x1b]0;x\x07",
            "\u202e",
            "x" * 5000,
            "os.system",
            "clintune.tasks.base.Task",
            "all-linear",
            "(.*)*x",
            "bf16",
        ),
        *(
            "clintune.modalities.rhythm.Rhythm",
            "clintune.tasks.multiclass.Multiclass",
            "full",
            "lora",
            "gpt2",
            "vit",
        ),
        *(
            0,
            -1,
            1,
            2,
            7,
            129,
            5000,
            2**16,
            2**24,
            10**8,
            2**31,
            2**63,
            2**64,
            10**30,
            0.5,
            -0.0,
            1e-320,
            1e308,
        ),
        *(
            float("nan"),
            float("inf"),
            None,
            True,
            False,
            [],
            {},
            [[]],
            [None],
            {"": {}},
            {"_target_": "os.getcwd"},
        ),
    ]
)
VALUES = HOSTILE | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=8), part, max_size=4)
    ),
    max_leaves=8,
)
EDITS = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.sampled_from(["put", "put", "put", "drop", "rename", "swap"]),
        VALUES,
    ),
    min_size=1,
    max_size=3,
)
CUTS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 40), st.binary(max_size=40)),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module", autouse=True)
def no_network():
    """Let no source reach a hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def whole(shared_run, tmp_path_factory):
    """Return a package with all that a release has."""
    run = shared_run("trainer.max_steps=2")
    package = shutil.copytree(run / "package", tmp_path_factory.mktemp("fuzz") / "package")
    write_sample(package, load_package(package))
    write_calibrations(
        package / "calibration.json", {"outcome": Calibration.identity(yes_or_no([""]))}
    )
    write_manifest(package)
    load(package)
    return package


def places(node):
    """Yield each container of a tree with each of its keys."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


def edited(tree, edits):
    """Return a copy of a tree with some of its values put, dropped, renamed or swapped."""
    tree = copy.deepcopy(tree)
    for number, kind, value in edits:
        found = list(places(tree))
        if not found:
            return tree
        node, key = found[number % len(found)]
        if kind == "put":
            node[key] = copy.deepcopy(value)
        elif kind == "drop" or not isinstance(node, dict):
            del node[key]
        elif kind == "rename":
            node[value if isinstance(value, str | int) else "other"] = node.pop(key)
        else:
            other, place = found[(number // 7) % len(found)]
            node[key] = copy.deepcopy(other[place])
    return tree


def cut(content, cuts):
    """Return bytes of which some stretches are replaced."""
    for start, length, new in cuts:
        start %= len(content) + 1
        content = content[:start] + new + content[start + length :]
    return content


def header_edited(content, edits):
    """Return a safetensors file with another header."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(edited(json.loads(content[8 : 8 + length]), edits)).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def answered(read):
    """Read something; it comes, or a PackageError of one line."""
    try:
        read()
    except PackageError as error:
        return str(error).isprintable()
    return True


def case(target, whole, folder):
    """Return a strategy of changes, and what makes one and reads it."""

    def place(name, content):
        (folder / name).unlink()  # a tensor may be mapped from it
        (folder / name).write_bytes(content)
        sign(folder)

    def description(edits):
        place("clintune.yaml", yaml.safe_dump(edited(about, edits), allow_unicode=True).encode())

    def read(change, reader):
        with contextlib.suppress(UnicodeEncodeError, yaml.YAMLError):  # of the change itself
            change()
        assert answered(reader)

    about = yaml.safe_load((whole / "clintune.yaml").read_text())
    content = {path.name: path.read_bytes() for path in whole.iterdir()}
    manifest, fitted = json.loads(content["MANIFEST.json"]), json.loads(content["calibration.json"])
    adapter = json.loads(content["adapter_config.json"])

    def tensors(name, changed):
        read(
            lambda: place(name, changed),
            lambda: (package_headers(folder / name), read_tensors(folder / name)),
        )
        read(lambda: None, lambda: load(folder))
        place(name, content[name])

    return {
        "description": (
            EDITS,
            lambda edits: read(lambda: description(edits), lambda: read_description(folder)),
        ),
        "description bytes": (
            CUTS,
            lambda cuts: read(
                lambda: place("clintune.yaml", cut(content["clintune.yaml"], cuts)),
                lambda: read_description(folder),
            ),
        ),
        "whole": (EDITS, lambda edits: read(lambda: description(edits), lambda: load(folder))),
        "adapter": (
            EDITS,
            lambda edits: read(
                lambda: place("adapter_config.json", json.dumps(edited(adapter, edits)).encode()),
                lambda: load(folder),
            ),
        ),
        "manifest": (
            EDITS | CUTS.map(lambda cuts: cut(content["MANIFEST.json"], cuts)) | st.binary(),
            lambda made: read(
                lambda: None,
                lambda: read_manifest(
                    "here",
                    made
                    if isinstance(made, bytes)
                    else json.dumps(edited(manifest, made)).encode(),
                ),
            ),
        ),
        "calibration": (
            EDITS,
            lambda edits: read(
                lambda: place("calibration.json", json.dumps(edited(fitted, edits)).encode()),
                lambda: [
                    each.apply(PROBABILITY)
                    for each in read_calibrations(folder / "calibration.json").values()
                ],
            ),
        ),
        "headers": (
            st.tuples(st.sampled_from(TENSORS), EDITS),
            lambda made: tensors(made[0], header_edited(content[made[0]], made[1])),
        ),
        "tensors": (
            st.tuples(st.sampled_from(TENSORS), CUTS),
            lambda made: tensors(made[0], cut(content[made[0]], made[1])),
        ),
    }[target]


def tried(strategy, check, seconds, examples):
    """Try a round of examples, and other rounds until the time is up."""
    end, number = time.monotonic() + seconds, 0
    while number == 0 or time.monotonic() < end:
        options = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(options(given(strategy)(check)))()
        number += 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "seconds", [0, pytest.param(SECONDS / len(TARGETS), marks=pytest.mark.slow)]
)
def test_nothing_but_a_package_error_comes_of_a_changed_package(whole, tmp_path, target, seconds):
    folder = shutil.copytree(whole, tmp_path / "package")
    strategy, check = case(target, whole, folder)
    tried(strategy, check, seconds, 50 if seconds else 10)
