"""Metrics of the time to an event, of one kind or of several, with follow-up that may end before.

All of them read targets [N, 2]: days of follow-up, and how it ended (0 censored, else the kind of
event). They read predictions [N, K * J]: the cumulative incidence of each kind of event (major) at
J increasing days. Where samples are weighted by the inverse probability of censoring, G is the
Kaplan-Meier estimate of the time to censoring among the scored samples, under their weights.

Conventions, and how they differ from those of scikit-survival 0.28:

- Events come before censorings of the same day: G(T) of an event on day T does not count the
  censorings of that day, and a patient censored on a horizon counts as free of the event on it.
  scikit-survival counts those censorings in G(T), and leaves out a patient censored on a horizon.
  Both agree where no censoring falls on the day of an event or on a horizon.
- Events on the last day of the window count. scikit-survival's `tau` excludes that day.
- Only exactly equal risks are tied. scikit-survival takes risks within 1e-8 as tied.
- AUROC is the plain mean over the horizons. scikit-survival's `mean_auc` weights by events.
- A value that can't be estimated is left out (see each `meaning`), or NaN; scikit-survival raises.
"""

from collections.abc import Sequence

from clintune.metrics.base import Metric
from clintune.metrics.survival_curves import (
    aalen_johansen,
    incidence_at,
    kaplan_meier,
    numbers_at_risk,
)
from clintune.metrics.survival_followed import of_followed
from clintune.metrics.survival_pairs import antolini, uno
from clintune.metrics.survival_scores import (
    GROUPS,
    IBS_DAYS,
    calibration_error,
    integrated_brier,
    mean_auroc,
)

__all__ = [
    "aalen_johansen",
    "incidence_at",
    "kaplan_meier",
    "numbers_at_risk",
    "survival_metrics",
]

_CENSORING = (
    "Patients stand for those censored before: they count by the inverse of the chance to be still "
    "observed (Kaplan-Meier estimate of censoring in the scored patients; events come before "
    "censorings of the same day)."
)
_RIVALS = "who had another kind of event before is compared, too (Wolbers et al., 2014)"


def survival_metrics(
    times: Sequence[float],
    window: tuple[float, float],
    horizons: Sequence[float],
    num_events: int = 1,
) -> tuple[Metric, ...]:
    """Make the metrics of predictions at the days `times` [J] of `num_events` kinds of event.

    `window` (low, high) in days bounds the scored time. `horizons` are the days by which risks are
    asked for; without any it is the end of the window. The first metric is the primary one.
    """
    assert 0 <= window[0] <= window[1]
    horizons = sorted(float(day) for day in horizons) or [float(window[1])]
    return (
        _antolini(times, window[1], num_events),
        _uno(times, horizons[-1], window[1], num_events),
        _ibs(times, window, num_events),
        _auroc(times, horizons, num_events),
        _calibration(times, horizons, num_events),
    )


def _antolini(times: Sequence[float], until: float, num_events: int) -> Metric:
    return Metric(
        name="antolini_c",
        title="Antolini's C",
        meaning=(
            "Time-dependent concordance (Antolini et al., 2005): of two patients, the chance that "
            "the one with the earlier event had the higher predicted risk on the day of that "
            f"event, ties in risk counting half. Events up to day {until:g} count, and an event is "
            "compared with a censoring of the same day; pairs are not weighted for censoring. 0.5 "
            "is chance, 1 is perfect." + _kinds(num_events, _RIVALS)
        ),
        compute=of_followed(antolini(until), times, num_events),
        chance=0.5,
    )


def _uno(times: Sequence[float], horizon: float, until: float, num_events: int) -> Metric:
    return Metric(
        name="uno_c",
        title="Uno's C",
        meaning=(
            "Concordance (Uno et al., 2011): of two patients, the chance that the one with the "
            f"earlier event, up to day {until:g}, had the higher predicted risk by day "
            f"{horizon:g}, ties in risk counting half. {_CENSORING} 0.5 is chance, 1 is perfect."
            + _kinds(num_events, _RIVALS)
        ),
        compute=of_followed(uno(horizon, until), times, num_events),
        chance=0.5,
    )


def _ibs(times: Sequence[float], window: tuple[float, float], num_events: int) -> Metric:
    return Metric(
        name="ibs",
        title="Integrated Brier score",
        meaning=(
            "Mean squared difference of predicted risk and outcome (Graf et al., 1999), averaged "
            f"over the time from day {window[0]:g} to day {window[1]:g} ({IBS_DAYS} days, "
            f"trapezoid rule), as long as patients are followed. {_CENSORING} 0 is perfect."
            + _kinds(num_events, "other kinds count as not having this one")
        ),
        compute=of_followed(integrated_brier(*window), times, num_events),
        higher_is_better=False,
    )


def _auroc(times: Sequence[float], horizons: Sequence[float], num_events: int) -> Metric:
    return Metric(
        name="auroc",
        title="Time-dependent AUROC",
        meaning=(
            "Cumulative/dynamic AUROC (Uno et al., 2007; Hung and Chiang, 2010): the chance that a "
            f"patient with an event by day {_days(horizons)} was given a higher risk by then than "
            "one who had none, ties counting half; the mean over the days for which it is defined. "
            f"{_CENSORING} 0.5 is chance, 1 is perfect."
            + _kinds(num_events, "who had another kind by then counts as having none of this one")
        ),
        compute=of_followed(mean_auroc(horizons), times, num_events),
        chance=0.5,
    )


def _calibration(times: Sequence[float], horizons: Sequence[float], num_events: int) -> Metric:
    observed = "Kaplan-Meier" if num_events == 1 else "Aalen-Johansen"

    return Metric(
        name="calibration",
        title="Calibration error",
        meaning=(
            f"How far predicted and observed risk by day {_days(horizons)} lie apart: patients are "
            f"put into {GROUPS} groups of equal size by predicted risk, in each the mean of it is "
            f"compared with the observed risk ({observed} within the group), and the absolute "
            "differences are averaged by group size, then over the days. Equal risks stay in one "
            "group; a group that is not followed until the day is left out. 0 is perfect."
            + _kinds(num_events, "each kind has groups of its own")
        ),
        compute=of_followed(calibration_error(horizons), times, num_events),
        higher_is_better=False,
    )


def _kinds(num_events: int, rule: str) -> str:
    if num_events == 1:
        return ""
    kinds = f" Of {num_events} kinds of event, the mean over the kinds for which it is defined"
    return f"{kinds}; {rule}."


def _days(horizons: Sequence[float]) -> str:
    """Write days as "30", "30 or 365", "30, 180 or 365"."""
    words = [f"{day:g}" for day in horizons]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
