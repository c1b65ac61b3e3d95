"""Members that are averaged are of one model; a run is only what no manifest says was published."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from clintune.core.errors import ClintuneError, PackageError
from clintune.inference.load import load
from clintune.package.calibrations import write_calibrations
from clintune.package.manifest import write_manifest
from clintune.tasks.calibration import Calibration
from helpers.broken_packages import describe

FITTED = Calibration(
    exclusive=False, slope=(0.5,), intercept=(1.0,), floors=((0.0, 0.0),), reasons=(None,)
)


@pytest.fixture
def ensemble(shared_run, tmp_path):
    """Return an ensemble of two members that a test may break."""
    package = shared_run("trainer.max_steps=2") / "package"
    for number in range(2):
        shutil.copytree(package, tmp_path / "package" / f"member-{number}")
    return tmp_path / "package"


def classes(names):
    """Return a change that makes the task one of several classes."""

    def change(about):
        task = about["composition"]["tasks"]["outcome"]
        task["_target_"] = "clintune.tasks.multiclass.Multiclass"
        del task["class_weight"]
        about["tasks"]["outcome"] = {"state": {"classes": [*names]}, "outputs": [*names]}

    return change


def setting(*path, value):
    def change(about):
        node = about
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


def relabelled(about):
    about["composition"]["tasks"]["outcome"]["label"] = "another"
    about["tasks"]["outcome"]["outputs"] = ["another"]


def test_members_of_one_model_are_averaged(ensemble):
    assert len(load(ensemble).members) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (relabelled, "its tasks are not those of member-0"),
        (
            setting("composition", "tasks", "outcome", "weight", value=2.0),
            "its tasks are not those of member-0",
        ),
        (
            setting("composition", "modalities", "static", "codes", value=["X"]),
            "its modalities are not those of",
        ),
        (
            setting("composition", "modalities", "notes", "max_pieces", value=3),
            "its modalities are not those of",
        ),
        (
            setting("statistics", "wearable", "channels", value=["other"]),
            "its codes or channels are not those of",
        ),
    ],
)
def test_members_that_read_or_answer_otherwise_are_refused(ensemble, change, says):
    describe(ensemble / "member-1", change)
    with pytest.raises(PackageError, match=f"member-1: {says}"):
        load(ensemble)


def test_classes_in_another_order_are_never_averaged_by_position(ensemble):
    for number, names in enumerate((["alive"], ["dead"])):
        describe(ensemble / f"member-{number}", classes(names))
    with pytest.raises(PackageError, match="its outputs are not those of member-0"):
        load(ensemble)


@pytest.mark.parametrize("file", ["calibration.json", "limits.json"])
def test_a_file_beside_members_in_no_manifest_is_not_read(ensemble, file):
    write_calibrations(ensemble / "calibration.json", {"outcome": FITTED})
    (ensemble / "calibration.json").rename(ensemble / file)
    with pytest.raises(PackageError, match=r"no MANIFEST\.json lists it"):
        load(ensemble)


def test_a_published_package_is_never_taken_for_a_run(ensemble, tmp_path, monkeypatch):
    monkeypatch.setenv("CLINTUNE_TEST_SECRET", "a-variable-of-this-machine")
    false_run = tmp_path / "run"
    shutil.copytree(ensemble / "member-0", false_run / "package")
    (false_run / "recipe.yaml").write_text("seed: ${oc.env:CLINTUNE_TEST_SECRET}\n")
    write_manifest(false_run)
    with pytest.raises(PackageError, match="no package there"):
        load(false_run, trusted=["mytasks"])


def test_nothing_of_the_recipe_of_a_run_is_resolved(ensemble, tmp_path, monkeypatch):
    monkeypatch.setenv("CLINTUNE_TEST_SECRET", "a-variable-of-this-machine")
    run = tmp_path / "run"
    shutil.copytree(ensemble / "member-0", run / "package")
    (run / "recipe.yaml").write_text("seed: ${oc.env:CLINTUNE_TEST_SECRET}\n")
    with pytest.raises(ClintuneError) as caught:
        load(run, trusted=["mytasks"])
    assert "a-variable-of-this-machine" not in str(caught.value)


def test_a_trusted_class_beside_the_recipe_is_found(shared_run, tmp_path):
    run = Path(shutil.copytree(shared_run("trainer.max_steps=2"), tmp_path / "run"))
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "clintune_test_outcome.py").write_text(
        "from clintune.tasks.binary import Binary\n\n\nclass Outcome(Binary):\n    pass\n"
    )
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "modules": str(beside)}))
    target = setting(
        "composition", "tasks", "outcome", "_target_", value="clintune_test_outcome.Outcome"
    )
    describe(run / "package", target)

    assert (
        type(load(run, trusted=["clintune_test_outcome"]).members[0].tasks["outcome"]).__name__
        == "Outcome"
    )


@pytest.mark.parametrize(
    "source", ["x" * 5000, "a/" * 3000, "~nobody-of-this-name/x", "\x1b]0;x\x07" * 500]
)
def test_a_text_that_is_no_address_is_refused_in_one_short_line(source):
    with pytest.raises(PackageError) as caught:
        load(source)
    assert len(str(caught.value)) < 400


def test_limits_are_those_that_a_run_writes_or_none(tmp_path):
    from clintune.experiment.limits import read_limits

    for held in (
        [],
        {},
        3,
        {"lacking": {"notes": "x"}},
        {"sentences": [], "lacking": {"notes": 2}},
        {"sentences": [3]},
    ):
        (tmp_path / "limits.json").write_text(json.dumps(held))
        with pytest.raises(PackageError, match="is not what clintune writes there"):
            read_limits(tmp_path)
    (tmp_path / "limits.json").write_text("[" * 100_000)
    with pytest.raises(ClintuneError):
        read_limits(tmp_path)
