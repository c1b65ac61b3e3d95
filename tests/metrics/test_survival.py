"""Survival metrics and curves agree with other libraries and with loops of their definitions."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from clintune.metrics import survival
from clintune.metrics.survival import survival_metrics

TIMES = (10.0, 25.0, 40.0, 60.0, 80.0, 100.0)


def cohort(seed, n=200, decimals=2, apart=True):
    """Days and events (tied, 58% censored), and incidence at TIMES, tied where it is rounded.

    `apart`: censorings are on half days and events on whole ones, so they never fall together.
    """
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    event = np.ceil(rng.exponential(90 * np.exp(-0.8 * risk)))
    censored = np.minimum(np.ceil(rng.exponential(60, n)), 90) + (0.5 if apart else 0.0)
    days, seen = np.minimum(event, censored), (event <= censored).astype(float)

    hazard = np.exp(0.6 * risk + rng.normal(scale=0.5, size=n))[:, None] / 110
    bend = rng.uniform(0.6, 1.6, (n, 1))
    curves = 1 - np.exp(-hazard * 40 * (np.array(TIMES) / 40) ** bend)
    return np.stack([days, seen], axis=1), np.round(curves, decimals)


def rivals(seed, n=60):
    """Three ways for follow-up to end, much tied, with two curves a sample."""
    rng = np.random.default_rng(seed)
    targets = np.stack([np.ceil(rng.exponential(6, n)) * 5, rng.integers(0, 3, n)], axis=1)
    return targets, np.round(np.sort(rng.random((n, 2, 6)) / 2, axis=2), 1).reshape(n, 12)


def values(metrics, *data):
    return {metric.name: metric(*data) for metric in metrics}


# scikit-survival 0.28.0 on y = Surv.from_arrays(event, days) for training and test, as in
#   concordance_index_ipcw(y, y, risk at the last horizon, tau)[0]
#   integrated_brier_score(y, y, 1 - incidence, np.round(np.linspace(*window, 101), 6))
#   mean of cumulative_dynamic_auc(y, y, incidence at the horizons, horizons)[0]
#   brier_score(y, y, 1 - incidence at the second horizon, second horizon)[1][0]
# with np.interp over (0, *TIMES). Where events and censorings fall on the same days, its inputs had
# the censorings 0.125 days later, which is what our rule means; tau = 80.05 so that day 80 counts.
SCIKIT_SURVIVAL = {
    "no censoring on the day of an event": (
        cohort(1),
        ((4.71, 70.73), (20.7, 45.7, 70.7)),
        {"uno_c": 0.626074472901497, "ibs": 0.213957001257494},
        [0.6353416398328275, 0.6343280215011972, 0.6589593064182464],
        0.24474872,
    ),
    "censorings on the days of events and on the horizons": (
        cohort(2, apart=False),
        ((5, 80), (25, 40, 80)),
        {"uno_c": 0.6698972903080825, "ibs": 0.18952483616742546},
        [0.7466738126675247, 0.7285397869289587, 0.8138370124688974],
        0.21871612,
    ),
}


@pytest.mark.parametrize("case", SCIKIT_SURVIVAL)
def test_agrees_with_scikit_survival_under_ties(case):
    data, (window, horizons), scores, areas, brier = SCIKIT_SURVIVAL[case]
    assert (data[0][:, 1] == 0).mean() > 0.5
    assert len(np.unique(data[0][:, 0])) <= 100

    found = values(survival_metrics(TIMES, window, horizons), *data)
    for name, value in {**scores, "auroc": np.mean(areas)}.items():
        assert found[name] == pytest.approx(value, abs=1e-12)
    for day, area in zip(horizons, areas, strict=True):
        assert values(survival_metrics(TIMES, window, [day]), *data)["auroc"] == pytest.approx(
            area, abs=1e-12
        )
    on_a_day = survival_metrics(TIMES, (horizons[1], horizons[1]), horizons)
    assert values(on_a_day, *data)["ibs"] == pytest.approx(brier, abs=1e-8)


def test_agrees_with_scikit_survival_on_repeated_rows():
    # As above, 0.28.0, on the rows of cohort(1), repeated
    # np.random.default_rng(5).integers(0, 4, 200) times.
    weights = np.random.default_rng(5).integers(0, 4, 200).astype(float)[None]
    metrics = survival_metrics(TIMES, (4.71, 70.73), (20.7, 45.7, 70.7))
    found = values(metrics, *cohort(1), weights)
    assert found["uno_c"][0] == pytest.approx(0.6348476533738387, abs=1e-12)
    assert found["ibs"][0] == pytest.approx(0.21187832084696623, abs=1e-12)
    assert found["auroc"][0] == pytest.approx(0.652001461149557, abs=1e-12)


@pytest.mark.parametrize(
    ("until", "value"), [(1000, 0.7152686762778506), (70.7, 0.716487415456259)]
)
def test_antolini_agrees_with_pycox(until, value):
    # pycox 0.3.0, evaluation/concordance.py (with numba alone, it needs no torch):
    #   concordance_td(days, events, survival at the distinct days, index of each day, "antolini")
    # which gives ties in prediction nothing; here there are none.
    # Truncated: days and events censored at `until`.
    targets, predicted = cohort(3, decimals=12)
    antolini = survival_metrics(TIMES, (0, until), [50])[0]
    assert antolini(targets, predicted) == pytest.approx(value, abs=1e-12)


def test_kaplan_meier_and_numbers_at_risk_agree_with_lifelines():
    # lifelines 0.30.3, KaplanMeierFitter().fit(days, events):
    # predict, and at_risk of its event_table.
    days, events = cohort(2, apart=False)[0].T
    at, free = survival.kaplan_meier(days, events)
    assert len(at) == 72
    asked = [5, 20, 45, 70, 90]
    reference = [
        0.9023855168984231,
        0.7281783182718753,
        0.5440748801979138,
        0.42811111457319817,
        0.3216566990297736,
    ]
    assert free[np.searchsorted(at, asked, side="right") - 1] == pytest.approx(reference, abs=1e-12)
    assert survival.numbers_at_risk(days, asked).tolist() == [173, 102, 56, 30, 16]


# lifelines 0.30.3, AalenJohansenFitter, where no two days are the same (it shakes tied ones
# apart at random), and scikit-survival 0.28.0, cumulative_incidence_competing_risks, where
# they are: on days 10, 40 and 90.
AALEN_JOHANSEN = {
    ("lifelines", 1): [0.06734326921883921, 0.18226284306834098, 0.3262308946801733],
    ("lifelines", 2): [0.08467566270254849, 0.2632922636457018, 0.3634910185967375],
    ("scikit-survival", 1): [0.0669811320754717, 0.18137424812287867, 0.3226946661139524],
    ("scikit-survival", 2): [0.0839622641509434, 0.26094845737207273, 0.36122997977539806],
}


@pytest.mark.parametrize(("library", "kind"), AALEN_JOHANSEN)
def test_aalen_johansen_agrees_with_other_libraries(library, kind):
    rng = np.random.default_rng(4)
    days, events = (
        np.round(rng.exponential(50, 120) + 0.01, 6),
        rng.integers(0, 3, 120).astype(float),
    )
    days = days if library == "lifelines" else np.ceil(days / 5) * 5
    at, had = survival.aalen_johansen(days, events, kind)
    found = had[np.searchsorted(at, [10, 40, 90], side="right") - 1]
    assert found == pytest.approx(AALEN_JOHANSEN[library, kind], abs=1e-12)


def test_incidence_is_interpolated_from_day_0():
    found = survival.incidence_at(np.array([[0.2, 0.6]]), (10, 20), [0, 5, 10, 15, 20, 500])
    assert found[0] == pytest.approx([0, 0.1, 0.2, 0.4, 0.6, 0.6])


class Loops:
    """The definitions, by sample or pair; `free(i, t)`: i is known to be free of events at t."""

    def __init__(self, targets, predicted, kinds):
        (self.days, self.ends), self.kinds, self.rows = targets.T, kinds, range(len(targets))
        self.uncensored = cache(self._uncensored)
        self.curves = predicted.reshape(len(targets), kinds, -1)

    def risk(self, i, kind, day):
        return survival.incidence_at(self.curves[i, kind - 1][None], TIMES, [day])[0, 0]

    def free(self, i, day):
        return self.days[i] > day or (self.days[i] == day and self.ends[i] == 0)

    def _uncensored(self, day):
        """The product over censorings before `day`; events of a day leave before censorings."""
        left = 1.0
        for u in sorted(
            {self.days[i] for i in self.rows if self.ends[i] == 0 and self.days[i] < day}
        ):
            at_risk = sum(self.free(i, u) for i in self.rows)
            left *= 1 - sum(self.days[i] == u and self.ends[i] == 0 for i in self.rows) / at_risk
        return left

    def concordance(self, kind, until, risk, weighted):
        share = {day: self.uncensored(day) if weighted else 1.0 for day in set(self.days)}
        won = total = 0.0
        for i in (i for i in self.rows if self.ends[i] == kind and self.days[i] <= until):
            for j in self.rows:
                other = self.ends[j] not in (0, kind) and self.days[j] <= self.days[i]
                if self.free(j, self.days[i]) or other:
                    weight = (
                        1 / share[self.days[i]] / share[self.days[j] if other else self.days[i]]
                    )
                    mine, theirs = risk(i, self.days[i]), risk(j, self.days[i])
                    won += weight * (0.5 if mine == theirs else mine > theirs)
                    total += weight
        return won / total

    def status(self, i, kind, day):
        """Whether i had the event by `day`, and its weight."""
        if self.free(i, day):
            return False, 1 / self.uncensored(day)
        return self.ends[i] == kind, (self.ends[i] > 0) / self.uncensored(self.days[i])

    def brier(self, kind, day):
        each = [(self.risk(i, kind, day), *self.status(i, kind, day)) for i in self.rows]
        return np.mean([weight * (risk - had) ** 2 for risk, had, weight in each])

    def auroc(self, kind, day):
        each = [(self.risk(i, kind, day), *self.status(i, kind, day)) for i in self.rows]
        pairs = [(a, b, v * w) for a, x, v in each if x for b, y, w in each if not y]
        return sum(w * (0.5 if a == b else a > b) for a, b, w in pairs) / sum(w for *_, w in pairs)

    def calibration(self, kind, day, groups=5):
        risks = np.array([self.risk(i, kind, day) for i in self.rows])
        ranks = np.array([(risks < r).sum() + (risks == r).sum() / 2 for r in risks])
        gaps, sizes = [], []
        for group in range(groups):
            of = np.flatnonzero((groups * ranks / len(ranks)).astype(int) == group)
            last = max((self.days[i], self.ends[i] == 0) for i in of) if len(of) else (0.0, True)
            if (
                last >= (day, True) or not last[1]
            ):  # else nobody tells what became of the group by the day
                at, had = survival.aalen_johansen(self.days[of], self.ends[of], kind)
                observed = had[np.searchsorted(at, day, side="right") - 1]
                gaps.append(len(of) * abs(risks[of].mean() - observed))
                sizes.append(len(of))
        return sum(gaps) / sum(sizes)


@pytest.mark.parametrize("seed", [6, 7])
def test_metrics_of_rival_events_agree_with_plain_loops(seed):
    loops = Loops(*rivals(seed), kinds=2)
    found = values(survival_metrics(TIMES, (10, 40), (20, 35), num_events=2), *rivals(seed))

    def mean(of):
        return np.mean([of(1), of(2)])

    antolini = mean(
        lambda k: loops.concordance(k, 40, lambda i, day: loops.risk(i, k, day), weighted=False)
    )
    uno = mean(lambda k: loops.concordance(k, 40, lambda i, _: loops.risk(i, k, 35), weighted=True))
    assert found["antolini_c"] == pytest.approx(antolini, abs=1e-12)
    assert found["uno_c"] == pytest.approx(uno, abs=1e-12)
    assert found["auroc"] == pytest.approx(
        mean(lambda k: (loops.auroc(k, 20) + loops.auroc(k, 35)) / 2), abs=1e-12
    )
    gap = mean(lambda k: (loops.calibration(k, 20) + loops.calibration(k, 35)) / 2)
    assert found["calibration"] == pytest.approx(gap, abs=1e-12)
    daily = [mean(lambda k, day=day: loops.brier(k, day)) for day in np.linspace(10, 40, 101)]
    assert found["ibs"] == pytest.approx(
        np.mean([(a + b) / 2 for a, b in pairwise(daily)]), abs=1e-12
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_antolini_and_calibration_agree_with_plain_loops(seed):
    data = [part[:80] for part in cohort(seed, decimals=1, apart=seed == 1)]
    loops = Loops(*data, kinds=1)
    found = values(survival_metrics(TIMES, (10, 40), [20]), *data)
    expected = loops.concordance(1, 40, lambda i, day: loops.risk(i, 1, day), weighted=False)
    assert found["antolini_c"] == pytest.approx(expected, abs=1e-12)
    assert found["calibration"] == pytest.approx(loops.calibration(1, 20), abs=1e-12)
