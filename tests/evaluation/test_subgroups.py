"""Scores of groups and of single outputs are those of the rows and columns they name."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from clintune.evaluation.analyses.groups import UNKNOWN, by_group
from clintune.evaluation.analyses.views import by_view
from clintune.evaluation.intervals import MEAN
from clintune.evaluation.scored import of_task
from clintune.metrics import classification as metrics
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from helpers.made_up_predictions import predictions_of

TASK = Binary(label="x")


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    subjects = {
        "cohort": np.repeat(["here", "there"], 60),
        "subject_id": np.tile(np.arange(60), 2),
    }
    return predictions_of(rng.integers(0, 2, (120, 3)), rng.random((120, 3)), **subjects)


def test_groups_are_the_cohorts_and_the_unlisted_are_unknown(predictions):
    one = replace(
        predictions, targets=predictions.targets[:, :1], predicted=predictions.predicted[:, :1]
    )
    groups = {
        "here": pl.DataFrame({"subject_id": range(60), "site": ["a", "b"] * 30}),
        "there": pl.DataFrame({"subject_id": range(20), "site": ["a"] * 20}),
    }
    result = by_group({"x": of_task(one, TASK), "y": of_task(one, TASK)}, groups, replicates=20)
    rows = {
        "a": (one.cohort == "here") & (one.subject_id % 2 == 0)
        | (one.cohort == "there") & (one.subject_id < 20),
        "b": (one.cohort == "here") & (one.subject_id % 2 == 1),
        UNKNOWN: (one.cohort == "there") & (one.subject_id >= 20),
    }
    assert list(result) == ["site"]
    assert set(result["site"]) == set(rows)

    for group, chosen in rows.items():
        score = result["site"][group]["x"]["auroc"]
        assert score.value == pytest.approx(
            metrics.auroc(one.targets[chosen], one.predicted[chosen])
        )
        assert score.n_subjects == chosen.sum()
        assert result["site"][group][MEAN]["auroc"].value == pytest.approx(score.value)


def test_each_phenotype_is_scored_by_itself(predictions):
    result = by_view(predictions, Multilabel(label="x", phenotypes=["a", "b", "c"]), replicates=20)
    for i, name in enumerate("abc"):
        expected = metrics.auroc(predictions.targets[:, i], predictions.predicted[:, i])
        assert result[name]["auroc"].value == pytest.approx(expected)
        assert result[name]["auroc"].n_positive == predictions.targets[:, i].sum()


def test_each_class_is_scored_against_the_others(predictions):
    classes = replace(predictions, targets=(predictions.subject_id % 3).astype(np.float32)[:, None])
    result = by_view(classes, Multiclass(label="x", classes=["a", "b", "c"]), replicates=20)
    mean = np.mean([scores["auroc"].value for scores in result.values()])
    assert mean == pytest.approx(metrics.multiclass_auroc(classes.targets, classes.predicted))
    assert [scores["auroc"].n_positive for scores in result.values()] == [40, 40, 40]
