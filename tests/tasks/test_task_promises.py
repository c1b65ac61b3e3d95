"""A task whose methods return something wrong is named before training."""

from dataclasses import replace

import numpy as np
import pytest

from clintune.core.errors import ConfigError
from clintune.metrics import regression
from clintune.package.contents import make_tasks
from clintune.tasks.binary import Binary
from clintune.tasks.ordinal import Ordinal
from clintune.tasks.promises import check_tasks
from clintune.tasks.regression import Regression

TARGETS = np.array([[1.0], [2.0], [np.nan], [4.0]], np.float32)


def tried(kind):
    task = kind(label="y")
    task.fit(TARGETS)
    check_tasks({"y": task}, {"y": TARGETS})


class OneLoss(Regression):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets)[0]


class FlatAnswer(Regression):
    def predict(self, outputs):
        return super().predict(outputs)[:, 0]


class FewNames(Regression):
    predicted_names = ("value",)


class MeanLoss(Regression):
    def sample_loss(self, targets, predicted):
        return super().sample_loss(targets, predicted).mean()


class FloatMetric(Regression):
    metrics = (replace(regression.mae, compute=lambda targets, predicted, weights: 0.5),)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (OneLoss, "OneLoss.loss must return .*; it returns a Tensor of shape"),
        (
            FlatAnswer,
            r"FlatAnswer.predict must return \[N, P\]; it returns a Tensor of shape \(4,\)",
        ),
        (FewNames, "FewNames.predicted_names has 1 names, and predict returns 3 columns"),
        (MeanLoss, r"MeanLoss.sample_loss must return \[N\]"),
        (FloatMetric, "FloatMetric: metric mae must return a value for each row .* a float"),
    ],
)
def test_what_a_task_returns_is_tried(kind, said):
    tried(Regression)
    with pytest.raises(ConfigError, match=f"^tasks.y: {said}"):
        tried(kind)


def test_no_task_of_the_house_breaks_its_promise():
    for task, targets in (
        (Binary(label="y"), TARGETS > 1),
        (Ordinal(label="y", classes=["a", "b", "c"]), TARGETS % 3),
    ):
        values = np.where(np.isnan(TARGETS), np.nan, targets).astype(np.float32)
        task.fit(values)
        check_tasks({"y": task}, {"y": values})


OWN = """
from dataclasses import replace
from clintune.metrics import regression
from clintune.tasks.regression import Regression

class Own(Regression):
    metrics = {metrics}
"""


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ("(replace(regression.mae, higher_is_better=None),)", "mae, can choose no checkpoint"),
        ("regression.mae", "it is one without a tuple: put a comma behind it"),
        ("()", "it is empty"),
        ("('mae',)", "it has a str"),
    ],
)
def test_wrong_metrics_are_told_apart(metrics, said, tmp_path, monkeypatch):
    name = f"own_{abs(hash(metrics))}"
    (tmp_path / f"{name}.py").write_text(OWN.format(metrics=metrics))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"^tasks.y: .*{said}"):
        make_tasks({"y": {"_target_": f"{name}.Own", "label": "y"}})


def test_a_score_outside_its_bounds_is_refused():
    class Narrow(Regression):
        metrics = (replace(regression.mae, bounds=(0.0, 0.5)),)

    task = Narrow(label="y")
    with pytest.raises(ConfigError, match=r"metric mae is 2, outside its bounds \(0, 0.5\)"):
        task.score(np.ones((3, 1), np.float32), np.full((3, 3), 3, np.float32))
