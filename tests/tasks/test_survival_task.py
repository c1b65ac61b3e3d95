"""Time to an event: the likelihood of what was seen; unknown follow-up is never an answer."""

import json
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.figure import Figure as Canvas
from scipy.stats import expon

from clintune.core.errors import ConfigError, DataError
from clintune.metrics.survival import kaplan_meier
from clintune.tasks.survival import Survival
from clintune.tasks.survival_answer import Answer
from clintune.tasks.survival_hazards import Hazards
from clintune.testing import check_task
from helpers.made_up_predictions import predictions_of

EDGES = [10.0, 20.0, 40.0]


def known(days, event):
    return np.array([days, event], np.float32).T


def drawn(n=400, num_kinds=1, seed=0):
    """Return days and events of exponential times, censored by other exponential times."""
    rng = np.random.default_rng(seed)
    to_event, to_end = rng.exponential(100, n), rng.exponential(150, n)
    kind = rng.integers(1, num_kinds + 1, n)
    return known(np.minimum(to_event, to_end), np.where(to_event <= to_end, kind, 0))


def asked(task):
    """Return a task that knows its answers."""
    task.fit(drawn(num_kinds=task.num_kinds))
    return task


KINDS = {
    "one": (lambda: Survival(label="x"), drawn(60)),
    "given": (lambda: Survival(label="x", edges=[30, 90, 200], horizons=[60, 180]), drawn(60)),
    "several": (
        lambda: Survival(label="x", events=["relapse", "death"], num_intervals=6),
        drawn(60, 2),
    ),
}
CHECKS = [
    pytest.param(run, id=f"{kind}-{name}")
    for kind, (make, targets) in KINDS.items()
    for name, run in check_task(make, np.vstack([targets, [[np.nan, np.nan]]]))
]


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check()


def test_the_likelihood_is_that_of_what_was_seen():
    task = Survival(label="x", edges=EDGES)
    outputs = torch.tensor([[0.3, -0.5, 1.0, 0.2, 0.4]]).repeat(4, 1)
    # Three intervals lie at the first, between the middle ones, and at the last of the four times.
    hazard = torch.sigmoid(0.3 + torch.tensor([-0.5, (1.0 + 0.2) / 2, 0.4]))
    stay = torch.log(1 - hazard)
    seen = {
        (15.0, 1): stay[0] + torch.log(hazard[1]),  # an event in the second interval
        (15.0, 0): stay[0] + stay[1] / 2,  # followed through half of it
        (40.0, 0): stay.sum(),  # followed to the end of the last
        (99.0, 1): stay.sum(),  # an event after the last is none within it
    }
    for i, ((days, event), log_likelihood) in enumerate(seen.items()):
        loss, count = task.loss(outputs[i : i + 1], torch.tensor([[days, event]]))
        assert count == 1
        assert loss.item() == pytest.approx(-log_likelihood.item(), rel=1e-5)


def test_several_kinds_share_each_interval_as_classes_do():
    task = Survival(label="x", events=["a", "b"], edges=EDGES)
    outputs = torch.randn(1, 2, generator=torch.Generator().manual_seed(0))
    outputs = torch.cat([outputs.T, torch.zeros(2, 4)], dim=1).reshape(1, 10)
    hazards = torch.cat([torch.zeros(1, 3), outputs.reshape(2, 5)[:, :1].repeat(1, 3)]).softmax(
        dim=0
    )
    loss, _ = task.loss(outputs, torch.tensor([[15.0, 2.0]]))
    assert loss.item() == pytest.approx(
        -(hazards[0, 0].log() + hazards[2, 1].log()).item(), rel=1e-5
    )

    survival = hazards[0].cumprod(0)
    incidence = task.predict(outputs).reshape(2, 3)
    torch.testing.assert_close(incidence.sum(0), 1 - survival)
    assert incidence[0, 0].item() == pytest.approx(hazards[1, 0].item(), rel=1e-5)


def test_without_outputs_it_predicts_the_training_curve():
    task, targets = Survival(label="x"), drawn(2000)
    task.fit(targets)
    incidence = task.predict(torch.zeros(1, task.num_outputs))[0].numpy()
    days, survival = kaplan_meier(*targets.T)
    told = task.state()["answer"]["days"]
    observed = 1 - survival[np.searchsorted(days, told, side="right") - 1]
    assert incidence == pytest.approx(observed, abs=0.03)
    assert incidence == pytest.approx(expon(scale=100).cdf(told), abs=0.05)


def test_what_is_learnt_is_rounded():
    task = Survival(label="x")
    task.fit(drawn(100))
    state = task.state()
    for day in [
        *state["hazards"]["edges"],
        *(day for days in state["answer"].values() for day in days),
    ]:
        assert day == float(f"{day:.1e}")
    assert state["hazards"]["edges"] == sorted(set(state["hazards"]["edges"]))


def test_views_ask_for_the_event_and_know_when_nobody_can_tell():
    task = asked(Survival(label="x", edges=EDGES, horizons=[20]))
    (view,) = task.binary_views
    assert view.name == "event by 20 days"
    outcome = view.outcome(known([5, 30, 20, 5, 20, np.nan], [1, 1, 1, 0, 0, np.nan]))
    assert outcome[[0, 1, 2, 4]].tolist() == [
        1,
        0,
        1,
        0,
    ]  # who ends on the day itself was followed until then
    assert np.isnan(outcome[[3, 5]]).all()


def test_another_kind_of_event_is_no_event_of_this_one():
    task = asked(Survival(label="x", events=["a", "b"], edges=EDGES, horizons=[20]))
    outcomes = [view.outcome(known([5, 5, 5], [1, 2, 0])) for view in task.binary_views]
    assert [o[:2].tolist() for o in outcomes] == [[1, 0], [0, 1]]
    assert all(np.isnan(o[2]) for o in outcomes)


def test_the_loss_of_a_sample_is_its_likelihood():
    task = Survival(label="x", edges=EDGES)
    outputs = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    targets = known([15.0, 20.0, 99.0], [1, 0, 0])
    losses = task.sample_loss(targets, task.predict(outputs).numpy())
    expected = [task.loss(outputs[[i]], torch.from_numpy(targets[[i]]))[0].item() for i in range(3)]
    assert losses == pytest.approx(expected, rel=1e-4)


def write(root, **columns):
    (root / "labels").mkdir()
    table = pl.DataFrame(
        {"subject_id": [1, 2], "prediction_time": [datetime(2020, 1, 1)] * 2, **columns}
    )
    table.write_parquet(root / "labels/x.parquet")


def test_labels_are_days_and_event(tmp_path):
    write(tmp_path, float_value=[12.5, None], boolean_value=[True, None])
    (first, second) = Survival(label="x").read(tmp_path)["target"].to_list()
    assert first == [12.5, 1.0]
    assert np.isnan(second).all()


def test_kinds_of_event_are_numbered_and_none_is_censored(tmp_path):
    write(tmp_path, float_value=[1.0, 2.0], categorical_value=["death", None])
    targets = Survival(label="x", events=["relapse", "death"]).read(tmp_path)["target"].to_list()
    assert targets == [[1.0, 2.0], [2.0, 0.0]]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"float_value": [1.0, 0.0], "boolean_value": [True, True]},
            "row 1: column float_value is not above 0",
        ),
        (
            {"float_value": [1.0, 2.0], "boolean_value": [None, True]},
            "row 0: column boolean_value is null",
        ),
        ({"float_value": [1.0, 2.0]}, "lacks column boolean_value"),
    ],
)
def test_wrong_labels_are_refused_with_their_row(tmp_path, columns, words):
    write(tmp_path, **columns)
    with pytest.raises(DataError, match=words):
        Survival(label="x").read(tmp_path)


def test_a_kind_that_the_task_does_not_name_is_refused(tmp_path):
    write(tmp_path, float_value=[1.0, 2.0], categorical_value=["relapse", "secret"])
    with pytest.raises(
        DataError, match="row 1: column categorical_value is none of the task's events"
    ) as error:
        Survival(label="x", events=["relapse", "death"]).read(tmp_path)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"events": ["one"]},
        {"num_intervals": 1},
        {"edges": [3, 2]},
        {"horizons": [0, 5]},
        {"edges": []},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=r"^(events|num_intervals|edges|horizons) of"):
        Survival(label="x", **settings)


def test_a_training_split_without_events_is_refused():
    with pytest.raises(DataError, match="fewer than two times of events"):
        Survival(label="x").fit(known([1, 2, 3], [0, 0, 1]))


@pytest.mark.parametrize("change", [{"answer": {}}, {"hazards": {}}, {"more": 1}])
def test_a_state_that_is_none_is_refused(change):
    state = asked(Survival(label="x")).state()
    with pytest.raises(ValueError, match="hold"):
        Survival(label="x").load_state(state | change)


@pytest.mark.parametrize(
    "change", [{"edges": [2.0, 1.0]}, {"base": [[0.0]]}, {"base": 1}, {"more": 1}]
)
def test_hazards_that_are_none_are_refused(change):
    hazards = Hazards.flat(EDGES, 1).to_json()
    with pytest.raises(ValueError, match="hold"):
        Hazards.from_json(hazards | change, 1)


def test_no_interval_is_of_fewer_than_eleven_events():
    targets = drawn(100)
    task = Survival(label="x", num_intervals=50)
    task.fit(targets)
    times = targets[targets[:, 1] == 1, 0]
    edges = task.state()["hazards"]["edges"]
    assert len(edges) == len(times) // 11
    assert np.histogram(times, [0, *edges[:-1], times.max()])[0].min() >= 8  # the ends are rounded


@pytest.mark.parametrize(
    "change", [{"window": [5.0, 1.0]}, {"window": [1.0]}, {"days": []}, {"horizons": [0.0]}]
)
def test_an_answer_that_is_none_is_refused(change):
    answer = asked(Survival(label="x")).state()["answer"]
    with pytest.raises(ValueError, match="holds"):
        Answer.from_json(answer | change)


def test_a_figure_takes_eleven_patients_a_group():
    task = Survival(label="x", edges=[50, 100, 200])
    for size, is_drawable in ((33, True), (30, False)):
        rng = np.random.default_rng(0)
        predictions = predictions_of(drawn(size), np.sort(rng.random((size, 3)), axis=1))
        points = task.figures[0].points(predictions)
        assert (points is not None) == is_drawable
        if points is not None:
            assert points == json.loads(json.dumps(points))
            followed = [count for group in points["groups"] for count in group["followed"]]
            assert all(count is None or count >= 11 for count in followed)
            task.figures[0].draw(Canvas(), points)
