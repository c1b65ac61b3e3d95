"""What was observed and what was predicted of patients in three groups of risk."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.metrics.survival import aalen_johansen, incidence_at, numbers_at_risk
from clintune.tasks.figure import Figure, equal_groups
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
    estimator = "Aalen-Johansen" if competing else "Kaplan-Meier"
    caption = (
        f"Patients in three groups of equal size by predicted risk by {horizon:g} days. Full lines "
        f"are as observed ({estimator}), dashed ones as predicted on average. Below stands how "
        f"many are still followed. Lines end where fewer than {SMALLEST_SHOWN} are."
    )
    return Figure(
        title=f"{name}: observed and predicted",
        caption=caption,
        points=partial(_points, kind=kind, days=days, horizon=horizon, competing=competing),
        draw=partial(_draw, competing=competing),
        size=(9.6, 4.6),
    )


def _points(
    predictions: Predictions, *, kind: int, days: Sequence[float], horizon: float, competing: bool
) -> dict[str, Any] | None:
    """Return both lines of each group and how many are followed, None for a group of too few."""
    risks = risk_by(predictions.predicted, kind, days, horizon)
    groups = equal_groups(predictions, risks, len(_GROUPS))
    if len(groups) < len(_GROUPS):
        return None

    drawn = np.array([0.0, *days])
    asked = np.linspace(0, drawn[-1], _COUNTED_AT)
    lines = []
    for rows in groups:
        time, event = predictions.targets[rows].T

        # Both lines go as far as enough patients are followed.
        followed = drawn[numbers_at_risk(time, drawn) >= SMALLEST_SHOWN]
        observed = _at(aalen_johansen(time, event, kind + 1), followed)
        mean = curves_of(predictions.predicted[rows], kind, days).mean(axis=0)
        expected = incidence_at(mean[None], days, followed)[0]
        shown = [line if competing else 1 - line for line in (observed, expected)]

        counts = numbers_at_risk(time, asked).tolist()
        lines.append(
            {
                "days": followed.tolist(),
                "observed": shown[0].tolist(),
                "predicted": shown[1].tolist(),
                "followed": [count if count >= SMALLEST_SHOWN else None for count in counts],
            }
        )
    return {"groups": lines, "counted_at": asked.tolist()}


def _draw(canvas: Any, points: Mapping[str, Any], *, competing: bool) -> None:
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for number, (name, group) in enumerate(zip(_GROUPS, points["groups"], strict=True)):
        color = f"C{number}"
        above.step(group["days"], group["observed"], color, where="post", label=f"{name} risk")
        above.plot(group["days"], group["predicted"], color, ls="--")
        for day, count in zip(points["counted_at"], group["followed"], strict=True):
            text = f"<{SMALLEST_SHOWN}" if count is None else f"{count:,}"
            below.text(day, -number, text, color=color, ha="center", va="center", fontsize=8)

    above.set(ylim=(-0.02, 1.02), ylabel="with the event" if competing else "without the event")
    above.legend(loc="best", fontsize=8)
    last = points["counted_at"][-1]
    margin = 0.04 * last  # for the counts at both ends
    below.set(
        xlim=(-margin, last + margin),
        ylim=(0.4 - len(_GROUPS), 0.6),
        yticks=[],
        xlabel="days",
        ylabel="followed",
    )
    below.grid(visible=False)


def _at(steps: tuple[Floats, Floats], days: Floats) -> Floats:
    """Return the values of a step function at some days."""
    when, values = steps
    found: Floats = values[np.searchsorted(when, days, side="right") - 1]
    return found
