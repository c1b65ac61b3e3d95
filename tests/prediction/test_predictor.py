"""`clintune.load`: from a name to calibrated probabilities; several packages on one base answer as if alone."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import clintune
from clintune.cohort.samples import Samples
from clintune.config.compose import load_config
from clintune.core.errors import ConfigError, PackageError
from clintune.inference.load import Predictor, load_several
from clintune.model.batching import Batches, Draw
from clintune.package.calibrations import write_calibrations
from clintune.tasks.calibration import Calibration
from clintune.training.prepare import fill_caches
from clintune.training.workspace import open_workspace

PRETRAINED = ["backbone=minilm", "trainer.max_steps=2", "trainer.lr=0.05"]


def batch(run, predictor, rows=range(12)):
    """Return the first samples of a run's cohort."""
    workspace = open_workspace(load_config(run / "recipe.yaml"))
    samples: Samples = workspace.samples
    encoders, statistics = predictor.members[0].model.encoders, predictor.members[0].statistics
    everything = np.arange(len(samples))
    pieces, _ = fill_caches(workspace, encoders, statistics, everything, torch.device("cpu"))
    return Batches(samples, encoders, pieces)[Draw(rows=list(rows))]


def test_a_run_and_its_package_load_to_the_same_and_calibration_is_applied_where_it_was_fitted(shared_run, tmp_path):
    run = Path(shutil.copytree(shared_run(*PRETRAINED), tmp_path / "run"))
    plain, whole = clintune.load(run / "package"), clintune.load(run)
    first = batch(run, plain)
    before = plain(first)["outcome"]
    assert before.shape == (12, 1)
    assert np.array_equal(whole(first)["outcome"], before)
    fitted = Calibration(exclusive=False, slope=(0.5,), intercept=(1.0,), floors=((0.0, 0.0),), reasons=(None,))
    write_calibrations(run / "calibration.json", {"outcome": fitted})
    assert np.array_equal(clintune.load(run)(first)["outcome"], fitted.apply(before))
    assert np.array_equal(clintune.load(run / "package")(first)["outcome"], before)


def test_an_ensemble_answers_with_the_mean_of_its_members_on_one_base(shared_run):
    run = shared_run(*PRETRAINED, "ensemble=2")
    whole = clintune.load(run)
    alone = [clintune.load(run / "package" / f"member-{number}") for number in range(2)]
    first = batch(run, whole)
    answers = [one(first)["outcome"] for one in alone]
    assert not np.allclose(*answers, atol=1e-4)
    np.testing.assert_allclose(whole(first)["outcome"], np.mean(answers, axis=0), atol=1e-6)
    one, two = (dict(member.model.backbone.model.named_parameters()) for member in whole.members)
    name = "base_model.model.encoder.layer.0.output.dense.weight"
    assert one[name] is two[name]


def test_several_packages_on_one_base_answer_as_if_alone_in_any_order(shared_run):
    runs = {"a": shared_run(*PRETRAINED), "b": shared_run(*PRETRAINED, "seed=1")}
    several = clintune.load_several(runs)
    alone = {name: clintune.load(run) for name, run in runs.items()}
    for name in ("a", "b", "a"):
        first = batch(runs[name], alone[name])
        np.testing.assert_allclose(several[name](first)["outcome"], alone[name](first)["outcome"], atol=1e-6)


def test_the_example_of_the_page_answers(shared_run):
    page = (Path(__file__).parents[2] / "docs" / "publish.md").read_text()
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.S) if "load_several" in code)
    ward, icu = shared_run(*PRETRAINED), shared_run(*PRETRAINED, "seed=1")
    for name, here in {
        "org/deterioration": ward,
        "org/icu_admission": icu,
        "runs/icu_admission/20260101-120000": icu,
    }.items():
        code = code.replace(name, str(here))
    names = {}
    exec(compile(code, "page", "exec"), names)
    answer, alone = names["models"]["icu"](names["batch"])["outcome"], clintune.load(icu)
    assert np.array_equal(answer, alone(batch(icu, alone, range(8)))["outcome"])


def test_what_is_no_package_is_refused_in_one_line(tmp_path):
    with pytest.raises(PackageError, match="no package there; give a package, or a run that was trained to its end"):
        clintune.load(tmp_path)


@pytest.mark.parametrize("named", [["org/name"], "org/name", {}])
def test_several_packages_are_given_by_name(named):
    with pytest.raises(ConfigError, match="load_several: give a mapping of names to addresses"):
        load_several(named)


@pytest.mark.parametrize("batch", ["text", None])
def test_a_model_takes_a_batch_alone(batch):
    with pytest.raises(ConfigError, match=r"a model takes a Batch, not \w+; docs/publish.md shows how"):
        Predictor(members=[], calibrations={})(batch)
