"""A release of a run: what is in it, what its card says, and what is refused."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from huggingface_hub import ModelCard
from transformers import BertConfig, BertModel

from clintune.core.errors import ConfigError, PackageError
from clintune.package.contents import Package
from clintune.package.load import load_package
from clintune.package.manifest import local_manifest
from clintune.publishing.gate import check_floor
from clintune.publishing.release import make_release
from conftest import evaluate, train, write_recipe

ONE = {
    "README.md",
    "MANIFEST.json",
    "calibration.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "parts.safetensors",
    "clintune.yaml",
    "sample.safetensors",
}
ANSWERS = """
description: Tells who deteriorates.
intended_use: Made-up wards.
out_of_scope: Everybody real.
limits: It knows forty made-up people.
data_license: none needed, they are made up
license: apache-2.0
language: en
contact: nobody
country: Nowhere
grid_intensity: 400
"""


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def evaluated(quickstart, cache, tmp_path_factory):
    run = train(
        write_recipe(tmp_path_factory.mktemp("evaluated"), quickstart, cache), "trainer.max_steps=4"
    )
    evaluate(run)
    return run


@pytest.fixture
def run(evaluated, tmp_path):
    """Return a copy of the run that the test may release or break."""
    return Path(shutil.copytree(evaluated, tmp_path / "run"))


def test_a_release_is_a_package_with_card_calibration_and_sample(run):
    (run / "card.yaml").write_text(ANSWERS)
    release = make_release(run)
    assert release == run / "release"
    assert files(release) == ONE
    assert json.loads((release / "MANIFEST.json").read_text()).keys() == ONE - {"MANIFEST.json"}
    local_manifest(release)
    load_package(release)
    assert (release / "calibration.json").read_bytes() == (run / "calibration.json").read_bytes()


@pytest.mark.parametrize("statistics", [{"codes": {}, "min_subjects": 10}, {"codes": {}}])
def test_statistics_of_fewer_than_eleven_subjects_stay(statistics, tmp_path):
    enough = {"static": {"codes": {}, "min_subjects": 11}, "notes": {}}
    package = Package(config=None, model=None, tasks={}, statistics=enough)
    check_floor({tmp_path: package})
    with pytest.raises(
        PackageError,
        match=r"^modalities\.static: .*fewer than 11 subjects; train again with min_subj",
    ):
        check_floor({tmp_path: replace(package, statistics={**enough, "static": statistics})})


def test_a_calibration_that_tells_of_one_patient_stays(run):
    values = json.loads((run / "calibration.json").read_text())
    values["outcome"]["floors"][0][0] = 0.3186141848564148
    (run / "calibration.json").write_text(json.dumps(values))
    with pytest.raises(
        PackageError,
        match=r"calibration\.json: its floors are those of single patients; run `clintune e",
    ):
        make_release(run, draft=True)
    assert not (run / "release").exists()


def test_the_hub_reads_from_the_card_what_the_run_measured(run):
    (run / "card.yaml").write_text(ANSWERS)
    text = (make_release(run) / "README.md").read_text()
    assert "**open**" not in text
    assert "Draft" not in text

    data = ModelCard(text).data
    assert (data.library_name, data.license, data.language) == ("clintune", "apache-2.0", "en")

    measured = json.loads((run / "metrics.json").read_text())["held_out"]["outcome"]
    results = {result.metric_type: result for result in data.eval_results}
    assert results["roc_auc"].metric_value == pytest.approx(measured["auroc"]["value"], abs=1e-4)
    assert results["brier_score"].dataset_split == "held_out"
    assert {result.dataset_name for result in data.eval_results} == {"tiny"}
    for said in (
        "Made-up wards.",
        "400 g CO2e/kWh, so about",
        "Membership inference",
        "config, sha256",
        "<11",
    ):
        assert said in text


def test_the_card_names_no_path_and_no_small_count(run, evaluated, cache):
    release = make_release(run, draft=True)
    for path in release.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for place in (run.parent, evaluated.parent, cache):
                assert str(place).encode() not in content, path
    table = (release / "README.md").read_text().partition("| tiny |")[2].partition("\n\n")[0]
    numbers = [cell.strip() for line in table.splitlines()[1:] for cell in line.split("|")[2:-1]]
    assert {cell for cell in numbers if cell.isdigit() and int(cell) < 11} == set()
    assert "<11" in numbers


def test_open_questions_are_named_and_only_a_draft_goes_on(run):
    with pytest.raises(
        ConfigError, match=r"open in .*card\.yaml: description, .*grid_intensity; fill in, or add"
    ):
        make_release(run)
    assert not (run / "release").exists()
    text = (make_release(run, draft=True) / "README.md").read_text()
    assert text.index("> **Draft.**") < text.index("For research")
    assert "**open**" in text


def test_an_ensemble_keeps_its_members_apart(run_copy):
    run = run_copy("ensemble=2", "trainer.max_steps=2")
    evaluate(run)
    release = make_release(run, draft=True)
    inside = ONE - {"README.md", "calibration.json"}
    assert files(release) == {"README.md", "MANIFEST.json", "calibration.json"} | {
        f"member-{member}/{name}" for member in range(2) for name in inside
    }
    local_manifest(release)
    for member in sorted(release.glob("member-*")):
        load_package(member)
    assert "average of 2 models" in (release / "README.md").read_text()


def test_one_fold_is_published_with_its_own_numbers(recipe):
    run = train(recipe(), "cv=2", "trainer.max_steps=2", "trainer.metric=loss")
    evaluate(run)
    with pytest.raises(
        ConfigError, match=r"train it with cv=null and publish that, or publish one fold: fold=0-3"
    ):
        make_release(run, draft=True)
    with pytest.raises(ConfigError, match=r"fold=0-7 does not exist; the run has 0-0, 0-1"):
        make_release(run, fold_name="0-7", draft=True)

    release = make_release(run, fold_name="0-1", draft=True)
    assert release == run / "folds" / "0-1" / "release"

    results = ModelCard((release / "README.md").read_text()).data.eval_results
    auroc = next(result.metric_value for result in results if result.metric_type == "roc_auc")
    folds = json.loads((run / "metrics.json").read_text())["folds"]
    assert auroc == pytest.approx(folds[1]["held_out"]["outcome"]["auroc"], abs=1e-4)

    own = json.loads((run / "folds" / "0-1" / "metrics.json").read_text())
    assert own["held_out"]["outcome"]["auroc"]["value"] == folds[1]["held_out"]["outcome"]["auroc"]
    assert own["membership"]["n_samples"] == own["membership"]["n_subjects"]


def test_without_a_tuning_split_nothing_is_calibrated(recipe):
    run = train(recipe(), "cv=2", "cohorts.tiny.splits.tuning=0", "trainer.max_steps=2")
    evaluate(run)
    release = make_release(run, fold_name="0-0", draft=True)
    assert files(release) == ONE - {"calibration.json"}
    assert (
        "Not calibrated, and it never abstains: there was no tuning split."
        in (release / "README.md").read_text()
    )


def test_a_run_not_evaluated_since_it_trained_is_refused(run, shared_run):
    shutil.move(run / "metrics.json", run / "kept.json")
    with pytest.raises(PackageError, match=r"not evaluated; run `clintune evaluate"):
        make_release(run, draft=True)
    shutil.move(run / "kept.json", run / "metrics.json")
    measured = (run / "metrics.json").read_text()
    (run / "metrics.json").write_text(json.dumps({"held_out": {}}))
    with pytest.raises(PackageError, match="lacks the scores of calibrated probabilities"):
        make_release(run, draft=True)
    (run / "metrics.json").write_text(measured)
    other = shared_run("trainer.max_steps=2")
    shutil.rmtree(run / "package")
    shutil.copytree(other / "package", run / "package")
    with pytest.raises(PackageError, match=r"metrics\.json: is of another package"):
        make_release(run, draft=True)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (["provenance.json"], "{run}: was not trained; go on with `clintune train --resume {run}`"),
        (
            ["provenance.json", "package"],
            "{run}: was not trained; go on with `clintune train --resume {run}`",
        ),
        (
            ["package"],
            "{run}/package: no package there; "
            "train the run to its end (clintune train --resume RUN)",
        ),
    ],
)
def test_a_run_not_trained_to_its_end_is_refused(run, missing, said):
    for name in missing:
        shutil.move(run / name, run.parent / name)
    with pytest.raises(PackageError) as error:
        make_release(run, draft=True)
    assert str(error.value) == said.format(run=run)


def test_what_a_person_copied_onto_the_card_is_refused(recipe, cohort):
    shard = sorted((cohort / "data").glob("*.parquet"))[0]
    table = pl.read_parquet(shard)
    texts = table["text_value"].to_list()
    row = next(i for i, text in enumerate(texts) if text)
    texts[row] += " Works as a night guard at the harbour, file 0815-4711-23."
    table.with_columns(text_value=pl.Series(texts)).write_parquet(shard)
    run = train(recipe(cohort), "trainer.max_steps=2")
    evaluate(run)
    make_release(run, draft=True, canaries=["0815-4711-23", "night guard at the harbour"])
    shutil.rmtree(run / "release")
    for leak in ("night guard at the harbour, file", "as in 0815-4711-23"):
        (run / "card.yaml").write_text(f"limits: Fails {leak}\n")
        with pytest.raises(
            PackageError, match=rf"^README\.md of the release holds .*{shard.name}: row {row};"
        ) as error:
            make_release(run, draft=True)
        assert "4711" not in str(error.value)
        assert "harbour" not in str(error.value)
        assert not (run / "release").exists()


@pytest.mark.parametrize("way", ["below", "home"])
def test_a_base_in_a_folder_is_named_without_its_path(recipe, tmp_path, monkeypatch, way):
    base = tmp_path / "somebody" / "wards" / "base-model"
    settings = BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=99,
    )
    BertModel(settings, add_pooling_layer=False).save_pretrained(base)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / ("somebody" if way == "below" else "here"))
    monkeypatch.setenv("HOME", str(tmp_path))
    source = {
        "below": "wards/base-model",  # as an id of a hub would look
        "home": "~/somebody/wards/base-model",
    }[way]
    run = train(
        recipe(), f"backbone.source={source}", "backbone.config=null", "trainer.max_steps=1"
    )
    evaluate(run)
    release = make_release(run, draft=True)
    text = "".join(path.read_text() for path in release.iterdir() if path.suffix != ".safetensors")
    assert "somebody" not in text
    assert "wards/base" not in text

    sha256 = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    assert (
        f"| weights of backbone | base-model, sha256 {sha256} |"
        in (release / "README.md").read_text()
    )

    load_package(release, sources={"backbone": str(base)})
