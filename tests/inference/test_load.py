"""`clintune.load`: calibrated probabilities from a name; packages on one base answer as alone."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import clintune
from clintune.core.errors import ConfigError, PackageError
from clintune.inference.load import load_several
from clintune.package.calibrations import write_calibrations
from clintune.tasks.calibration import Calibration

PRETRAINED = ["backbone=minilm", "trainer.max_steps=2", "trainer.lr=0.05"]
PROBABILITY = "outcome/predicted_boolean_probability"


def risks(model, cohort, name=PROBABILITY):
    return model.predict(cohort=cohort)[name].to_numpy()


def test_a_run_is_calibrated_where_that_was_fitted(shared_run, quickstart, tmp_path):
    run = Path(shutil.copytree(shared_run(*PRETRAINED), tmp_path / "run"))
    before = risks(clintune.load(run / "package"), quickstart)
    assert np.array_equal(risks(clintune.load(run), quickstart), before)

    fitted = Calibration(
        exclusive=False, slope=(0.5,), intercept=(1.0,), floors=((0.0, 0.0),), reasons=(None,)
    )
    write_calibrations(run / "calibration.json", {"outcome": fitted})
    assert np.array_equal(
        risks(clintune.load(run), quickstart), fitted.apply(before[:, None])[:, 0]
    )
    assert np.array_equal(risks(clintune.load(run), quickstart, f"{PROBABILITY}_raw"), before)
    assert np.array_equal(risks(clintune.load(run / "package"), quickstart), before)


def test_members_on_one_base_answer_with_their_mean(shared_run, quickstart):
    run = shared_run(*PRETRAINED, "ensemble=2")
    whole = clintune.load(run)
    answers = [
        risks(clintune.load(run / "package" / f"member-{number}"), quickstart)
        for number in range(2)
    ]
    assert not np.allclose(*answers, atol=1e-4)
    np.testing.assert_allclose(risks(whole, quickstart), np.mean(answers, axis=0), atol=1e-6)
    one, two = (dict(member.model.backbone.model.named_parameters()) for member in whole.members)
    name = "base_model.model.encoder.layer.0.output.dense.weight"
    assert one[name] is two[name]


def test_packages_on_one_base_answer_as_if_alone(shared_run, quickstart):
    runs = {"a": shared_run(*PRETRAINED), "b": shared_run(*PRETRAINED, "seed=1")}
    several = clintune.load_several(runs)
    alone = {name: risks(clintune.load(run), quickstart) for name, run in runs.items()}
    for name in ("a", "b", "a"):
        np.testing.assert_allclose(risks(several[name], quickstart), alone[name], atol=1e-6)


def test_what_is_no_package_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        PackageError, match="no package there; give a package, or a run that was trained to its end"
    ):
        clintune.load(tmp_path)


@pytest.mark.parametrize("named", [["org/name"], "org/name", {}])
def test_several_packages_are_given_by_name(named):
    with pytest.raises(ConfigError, match="load_several: give a mapping of names to addresses"):
        load_several(named)


def test_a_model_says_in_one_line_what_it_is(shared_run):
    said = repr(clintune.load(shared_run(*PRETRAINED)))
    assert re.fullmatch(
        r"Predictor\(recipe: outcome from notes, imaging, wearable, static; members: 1\)", said
    )
