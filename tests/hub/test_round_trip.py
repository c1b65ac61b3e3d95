"""A model from each kind of hub answers as before, from package and base weights alone."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import clintune
from clintune.hub.base import open_hub
from clintune.publishing.release import make_release
from conftest import evaluate, run_python
from helpers.hub_server import TOKEN, HubServer
from helpers.mlflow_server import mlflow_server

SEND = """
import json, sys
from pathlib import Path
from clintune.hub.base import open_hub
print(json.dumps([open_hub(address).send(Path(sys.argv[1])) for address in sys.argv[2:]]))
"""
COLUMN = "outcome/predicted_boolean_probability"
STRANGER = """
import json, os, sys
import clintune
from clintune.core.errors import ClintuneError
cohort, cache, *addresses = sys.argv[1:]
answers = []
for number, address in enumerate(addresses):
    # What one hub sent must not answer for the next.
    os.environ["CLINTUNE_CACHE"] = f"{cache}/{number}"
    try:
        answers.append(clintune.load(address).predict(cohort=cohort)["COLUMN"].to_list())
    except ClintuneError as error:
        answers.append(f"refused: {error}")
print(json.dumps(answers))
""".replace("COLUMN", COLUMN)


@pytest.fixture(scope="module")
def run(shared_run, tmp_path_factory):
    """Return a run of two members on real base weights.

    It has a release, and a calibration that has an effect.
    """
    trained = shared_run("backbone=minilm", "trainer.max_steps=2", "trainer.lr=0.05", "ensemble=2")
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("round_trip") / "run"))
    evaluate(run)
    fitted = {
        "exclusive": False,
        "slope": [0.7],
        "intercept": [0.2],
        "floors": [[0.1, 0.1]],
        "reasons": [None],
    }
    (run / "calibration.json").write_text(json.dumps({"outcome": fitted}))
    make_release(run, draft=True)
    return run


@pytest.fixture(scope="module")
def flipped(run, tmp_path_factory):
    """Return a copy of the release, with one byte changed."""
    folder = tmp_path_factory.mktemp("flipped") / "model"
    shutil.copytree(run / "release", folder)
    path = folder / "member-1" / "parts.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return folder


def in_new_process(code, *words, cwd):
    done = run_python("-c", code, *map(str, words), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def answers(run, quickstart, tmp_path_factory):
    """Return what a new process answers with what another one sent to each kind of hub."""
    folder = tmp_path_factory.mktemp("hubs")
    hubs = {
        "folder": str(folder / "shared"),
        "url": f"file://{folder}/storage/model",
        "hub": "hf://me/model",
        "registry": "models:/model",
    }
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
        }.items():
            environment.setenv(name, value)

        addresses = in_new_process(SEND, run / "release", *hubs.values(), cwd=folder)
        sent = dict(zip(hubs, addresses, strict=True))
        sent["hub"] = "me/model"  # as people type it
        found = in_new_process(STRANGER, quickstart, folder / "cache", *sent.values(), cwd=folder)
    return dict(zip(hubs, found, strict=True))


@pytest.fixture(scope="module")
def expected(run, quickstart):
    """Return what the run itself answers."""
    return clintune.load(run).predict(cohort=quickstart)[COLUMN].to_list()


def test_a_published_model_answers_as_it_did_or_is_refused(
    run, quickstart, flipped, expected, tmp_path
):
    address = open_hub(str(tmp_path / "shared")).send(run / "release")
    words = quickstart, tmp_path / "cache", address, flipped
    answer, refused = in_new_process(STRANGER, *words, cwd=tmp_path)
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert refused.startswith("refused:")
    assert "member-1/parts.safetensors" in refused
    assert "\n" not in refused


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "url", "hub", "registry"])
def test_a_model_of_each_hub_answers_in_a_new_process(answers, expected, kind):
    np.testing.assert_allclose(answers[kind], expected, atol=1e-5)
