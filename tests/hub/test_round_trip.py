"""Published to each kind of hub, a model answers in a new process as it did, from package and base weights alone."""

import json
import shutil
from contextlib import ExitStack

import numpy as np
import pytest
from hub_server import TOKEN, HubServer
from mlflow_server import mlflow_server
from safetensors.torch import load_file, save_file

import clintune
from clintune.package.sample import SAMPLE, read_sample
from clintune.publishing.release import make_release
from conftest import RECIPE, evaluate, run_python, train

SEND = "import sys; from pathlib import Path; from clintune.hub.base import open_hub; "
SEND += "print(open_hub(sys.argv[1]).send(Path(sys.argv[2])))"
STRANGER = """
import json, sys
from safetensors.torch import load_file
import clintune
from clintune.core.errors import ClintuneError
from clintune.package.sample import read_sample
try:
    model = clintune.load(sys.argv[1])
    answers = model(read_sample(load_file(sys.argv[2]), model.members[0].model.encoders))
    print(json.dumps({task: values.tolist() for task, values in answers.items()}))
except ClintuneError as error:
    print("refused:", error)
"""


@pytest.fixture(scope="module")
def run(quickstart, cache, tmp_path_factory):
    """Return a run of two members on real base weights, with a release and a calibration that has an effect."""
    folder = tmp_path_factory.mktemp("round_trip")
    text = RECIPE.replace("ROOT", str(quickstart)).replace("CACHE", str(cache)).replace("RUNS", str(folder / "runs"))
    (folder / "recipe.yaml").write_text(text)
    run = train(folder / "recipe.yaml", "backbone=minilm", "ensemble=2", "trainer.max_steps=2", "trainer.lr=0.05")
    evaluate(run)
    fitted = {"exclusive": False, "slope": [0.7], "intercept": [0.2], "floors": [[0.1, 0.1]], "reasons": [None]}
    (run / "calibration.json").write_text(json.dumps({"outcome": fitted}))
    make_release(run, draft=True)
    return run


@pytest.fixture(scope="module")
def batch(run, tmp_path_factory):
    """Return the file of another sample than the one that loading repeats."""
    tensors = load_file(run / "release" / "member-0" / SAMPLE)
    moved = {name: value + 3 if name.endswith("/hours") else value for name, value in tensors.items()}
    path = tmp_path_factory.mktemp("batch") / "batch.safetensors"
    save_file(moved, path)
    return path


@pytest.fixture(scope="module")
def hubs(tmp_path_factory):
    """Return the address of each kind of hub, and the environment in which they are found."""
    folder = tmp_path_factory.mktemp("hubs")
    (folder / "mlflow").mkdir()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        server = stack.enter_context(HubServer().running())
        tracking, _ = stack.enter_context(mlflow_server(folder / "mlflow"))
        for name, value in {
            "HF_ENDPOINT": server.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(folder / "hf"),
            "HF_TOKEN": TOKEN,
            "MLFLOW_TRACKING_URI": tracking,
            "CLINTUNE_CACHE": str(folder / "cache"),
        }.items():
            environment.setenv(name, value)
        yield {
            "folder": str(folder / "shared"),
            "url": f"file://{folder}/storage/model",
            "hub": "hf://me/model",
            "registry": "models:/model",
        }


def in_new_process(code, *words, cwd):
    done = run_python("-c", code, *map(str, words), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["folder", "url", "hub", "registry"])
def test_what_was_published_answers_in_a_new_process_as_it_did(run, hubs, batch, kind, tmp_path):
    address = in_new_process(SEND, hubs[kind], run / "release", cwd=tmp_path)
    model = clintune.load(run)
    expected = model(read_sample(load_file(batch), model.members[0].model.encoders))
    short = "me/model" if kind == "hub" else address  # as people type it
    found = json.loads(in_new_process(STRANGER, short, batch, cwd=tmp_path))
    np.testing.assert_allclose(found["outcome"], expected["outcome"], atol=1e-5)


def test_a_byte_that_flipped_is_refused_in_one_line(run, batch, tmp_path):
    shutil.copytree(run / "release", tmp_path / "model")
    path = tmp_path / "model" / "member-1" / "parts.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    answer = in_new_process(STRANGER, tmp_path / "model", batch, cwd=tmp_path)
    assert answer.startswith("refused:")
    assert "member-1/parts.safetensors" in answer
    assert "\n" not in answer
