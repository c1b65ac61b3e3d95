"""Those who lack a modality are scored by themselves, and few of them are not told."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clintune.evaluation import scores
from clintune.evaluation.analyses import lacking
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page
from clintune.tasks.binary import Binary
from helpers.made_up_predictions import predictions_of

TASKS = {"icu": Binary(label="icu")}


def context(num_absent):
    """Return held-out predictions of 100 subjects, of whom the first ones lack their notes."""
    rng = np.random.default_rng(0)
    part = predictions_of(np.arange(100) % 2, rng.random(100))
    owners = {"notes": np.arange(num_absent, 100), "labs": np.arange(100)}

    return Context(
        run=None,
        config=SimpleNamespace(per_subject=False),
        samples=SimpleNamespace(seen=lambda name, rows: SimpleNamespace(owner=owners[name])),
        tasks=TASKS,
        modalities=["notes", "labs"],
        groups={},
        raw={"held_out": {"whole": {"icu": part}}},
        calibrations=[],
        split=np.r_[["train"] * 40, ["held_out"] * 100],
        replicates=20,
    )


def test_each_side_has_the_score_of_its_own_samples():
    given = context(30)
    found = lacking.run(given)
    assert list(found) == ["notes"]
    part = given.held_out["icu"]
    for name, rows in (("absent", slice(0, 30)), ("present", slice(30, 100))):
        expected = roc_auc_score(part.targets[rows, 0], part.predicted[rows, 0])
        assert found["notes"][name]["icu"]["auroc"]["value"] == pytest.approx(expected)


def test_where_few_lack_it_nobody_is_counted():
    given = context(7)
    found = lacking.run(given)
    page = Page(tasks=TASKS, metrics=scores.run(given))
    table = lacking.section(found, page).blocks[-1]
    cells = [list(map(str, row.cells[:2])) for row in table.shown()]
    assert cells == [["present", "11 or more"], ["group with fewer than 11", "<11"]]
