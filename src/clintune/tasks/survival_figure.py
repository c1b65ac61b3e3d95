"""What was observed and what was predicted of patients in three groups of risk."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.metrics.survival import aalen_johansen, incidence_at, numbers_at_risk
from clintune.tasks.figure import Figure
from clintune.tasks.survival_answer import curves_of, risk_by

Floats = NDArray[np.float64]

_GROUPS = ("low", "middle", "high")
_COUNTED_AT = 6
"""Days at which the figure tells how many are still followed."""


def survival_figure(
    name: str, kind: int, days: Sequence[float], horizon: float, *, competing: bool
) -> Figure:
    """Return the figure of a kind of event (from 0), by groups of its risk by the day `horizon`.

    It shows who is still without the one event, or who had one of several `competing` ones.
    """
    return Figure(
        title=f"{name}: observed and predicted",
        caption=f"Patients in three groups of equal size by predicted risk by {horizon:g} days. Full lines are as "
        f"observed ({'Aalen-Johansen' if competing else 'Kaplan-Meier'}), dashed ones as predicted on average. Below "
        f"stands how many are still followed. Lines end where fewer than {SMALLEST_SHOWN} are.",
        draw=partial(_draw, kind=kind, days=days, horizon=horizon, competing=competing),
        is_drawable=partial(_is_drawable, kind=kind, days=days, horizon=horizon),
        size=(9.6, 4.6),
    )


def _draw(
    canvas: Any,
    predictions: Predictions,
    *,
    kind: int,
    days: Sequence[float],
    horizon: float,
    competing: bool,
) -> None:
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    drawn = np.array([0.0, *days])
    asked = np.linspace(0, drawn[-1], _COUNTED_AT)

    for number, rows in enumerate(_risk_groups(predictions, kind, days, horizon)):
        time, event = predictions.targets[rows].T
        color = f"C{number}"

        # ---- the two lines, as far as enough patients are followed
        followed = drawn[numbers_at_risk(time, drawn) >= SMALLEST_SHOWN]
        observed = _at(aalen_johansen(time, event, kind + 1), followed)
        mean = curves_of(predictions.predicted[rows], kind, days).mean(axis=0)
        expected = incidence_at(mean[None], days, followed)[0]
        shown = [line if competing else 1 - line for line in (observed, expected)]
        above.step(followed, shown[0], color, where="post", label=f"{_GROUPS[number]} risk")
        above.plot(followed, shown[1], color, ls="--")

        # ---- how many are still followed
        for day, count in zip(asked, numbers_at_risk(time, asked), strict=True):
            text = f"<{SMALLEST_SHOWN}" if count < SMALLEST_SHOWN else f"{count:,}"
            below.text(day, -number, text, color=color, ha="center", va="center", fontsize=8)

    above.set(ylim=(-0.02, 1.02), ylabel="with the event" if competing else "without the event")
    above.legend(loc="best", fontsize=8)
    margin = 0.04 * days[-1]  # for the counts at both ends
    below.set(
        xlim=(-margin, days[-1] + margin),
        ylim=(0.4 - len(_GROUPS), 0.6),
        yticks=[],
        xlabel="days",
        ylabel="followed",
    )
    below.grid(visible=False)


def _is_drawable(
    predictions: Predictions, *, kind: int, days: Sequence[float], horizon: float
) -> bool:
    groups = _risk_groups(predictions, kind, days, horizon)
    return all(len(np.unique(predictions.subject_id[rows])) >= SMALLEST_SHOWN for rows in groups)


def _risk_groups(
    predictions: Predictions, kind: int, days: Sequence[float], horizon: float
) -> list[NDArray[np.int64]]:
    """Return the rows of patients of low, middle and high risk."""
    known = np.flatnonzero(~np.isnan(predictions.targets).any(axis=1))
    risks = risk_by(predictions.predicted[known], kind, days, horizon)
    return list(np.array_split(known[np.argsort(risks, kind="stable")], len(_GROUPS)))


def _at(steps: tuple[Floats, Floats], days: Floats) -> Floats:
    """Return the values of a step function at some days."""
    when, values = steps
    found: Floats = values[np.searchsorted(when, days, side="right") - 1]
    return found
