"""What a recipe names is looked for before anything is trained."""

import sys

import polars as pl
import pytest

from clintune.config.compose import compose_recipe
from clintune.core.errors import ClintuneError
from clintune.experiment.open import open_experiment
from clintune.training.run import train_run


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "modalities.static.codes=[SEXX//]",
            r"modalities\.static\.codes: no row has 'SEXX//'.*did you mean 'SEX//",
        ),
        (
            "modalities.notes.codes=[NOTE//PROGRES]",
            r"notes\.codes: no row has .*did you mean 'NOTE//PROGRESS'",
        ),
        (
            "trainer.metric=aurc",
            r"trainer\.metric': 'aurc' is a metric of no task; did you mean 'auroc'\?",
        ),
        ("cohorts.tiny.groups=sites.parquet", r"sites\.parquet: is missing; write it"),
        (
            "runs=FILE/runs",
            r"runs: .*/file/runs cannot be written to \(Not a directory\); name another folder",
        ),
        (
            "data.cache=FILE",
            r"data\.cache: .*/file cannot be written to \(File exists\); name another folder",
        ),
    ],
)
def test_a_recipe_that_names_what_nobody_has_is_refused(recipe, tmp_path, override, message):
    (tmp_path / "file").touch()
    with pytest.raises(ClintuneError, match=message):
        train_run(compose_recipe(recipe(), [override.replace("FILE", str(tmp_path / "file"))]))
    assert not list(tmp_path.glob("runs/*/*"))


OWN = """from clintune.metrics import Metric
from clintune.tasks.binary import Binary


def close(targets, predicted, weights):
    return weights.sum(1)


class Mine(Binary):
    {}
"""
NO_METRIC = "`metrics` of Mine must be a tuple of one or more Metric objects"
NO_FIGURE = "`figures` of Mine must be a tuple of Figure objects"


@pytest.mark.parametrize(
    ("body", "label", "says"),
    [
        (
            "pass",
            "deteriorations",
            r"tasks\.outcome\.label: no cohort has the label 'deteriorations' \(looked for "
            r"labels/deteriorations\.parquet.* in /.*\); did you mean 'deterioration'\?",
        ),
        ("metrics = (close,)", "deterioration", f"tasks.outcome: {NO_METRIC}.*a function"),
        ("metrics = close", "deterioration", f"tasks.outcome: {NO_METRIC}.*; it has a"),
        ("metrics = ()", "deterioration", f"tasks.outcome: {NO_METRIC}.*it is empty"),
        ("figures = (close,)", "deterioration", f"tasks.outcome: {NO_FIGURE}.*a function"),
        ("figures = close", "deterioration", f"tasks.outcome: {NO_FIGURE}.*; it has a"),
        (
            "metrics = (Metric(title='x', meaning='x', compute=close),)",
            "deterioration",
            r"tasks\.outcome: own_\d+\.py:10: TypeError \(Metric.*missing.*'name'\)$",
        ),
        (
            "def __init__(self, *, label):\n        self.kind = {}['more']",
            "deterioration",
            r"tasks\.outcome: own_\d+\.py:11: KeyError \('more'\)$",
        ),
    ],
)
def test_a_mistake_in_a_task_beside_the_recipe_is_told(recipe, monkeypatch, body, label, says):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path, name = recipe(), f"own_{abs(hash((body, label)))}"
    (path.parent / f"{name}.py").write_text(OWN.format(body))
    task = f"{{_target_: {name}.Mine, label: {label}}}"
    text = path.read_text().replace("  - task@tasks.outcome: binary\n", "")
    path.write_text(text.replace("{label: deterioration}", task))

    with pytest.raises(ClintuneError, match=says):
        open_experiment(compose_recipe(path))


def test_groups_keep_every_column_of_their_table(recipe, cohort):
    sites = pl.DataFrame({"subject_id": [1, 2], "site": ["a", "b"], "device": ["x", "x"]})
    sites.write_parquet(cohort / "sites.parquet")
    config = compose_recipe(recipe(cohort), ["cohorts.tiny.groups=sites.parquet"])
    assert open_experiment(config).groups["tiny"].equals(sites)


def test_a_mistyped_code_brings_up_no_code_of_few_subjects(recipe, cohort):
    shard = sorted((cohort / "data").glob("*.parquet"))[0]
    table = pl.read_parquet(shard)
    rows = [{"subject_id": table["subject_id"][0], "code": "SEXX//RARE"}] * 20
    pl.concat([table, pl.DataFrame(rows, schema=table.schema)]).write_parquet(shard)
    with pytest.raises(ClintuneError, match="no row has 'SEXX//RAR'; correct") as error:
        open_experiment(compose_recipe(recipe(cohort), ["modalities.static.codes=[SEXX//RAR]"]))
    assert "RARE" not in str(error.value)
