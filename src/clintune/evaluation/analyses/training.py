"""How training went: losses, and the tuning score that chose what is kept, by step."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clintune.evaluation.context import Context
from clintune.evaluation.page import Page
from clintune.report.section import Picture, Section
from clintune.report.svg import COLORS, kept_points
from clintune.training.history import read_history

Points = list[tuple[int, float]]


def run(context: Context) -> dict[str, Any] | None:
    """Return the points of each loss and tuning score, see `history_points`."""
    tasks = context.tasks.items()
    keys = {f"tuning/{name}/{task.metrics[0].name}": name for name, task in sorted(tasks)}
    return history_points(read_history(context.run / "history.jsonl"), keys)


def history_points(
    records: Sequence[Mapping[str, Any]], scores: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return `losses` and `scores` by name, each of points [step, value].

    A line has those of every member, `members`, and of their `mean`, as many as can be told apart.
    Keys of a record that are tuning scores stand in `scores` with what they are called.
    """
    losses = {"loss": "training", "tuning/loss": "tuning"}
    found: dict[str, dict[str, Any]] = {"losses": {}, "scores": {}}
    for part, keys in (("losses", losses), ("scores", scores)):
        for key, name in keys.items():
            if line := _line(records, key):
                found[part][name] = line
    return found if found["losses"] else None


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Draw the losses beside the scores."""
    text = "The loss says how far predictions are from the labels while the model learns."
    if "tuning" in page.metrics:
        text += (
            " The tuning patients take no part in learning; their score decides which state of the "
            "model is kept."
        )
    if any(len(line["members"]) > 1 for line in result["losses"].values()):
        text += " Faint lines are single members, strong ones their mean."

    titles = dict.fromkeys(page.tasks[name].metrics[0].title for name in result["scores"])
    draw = partial(_draw, points=result, title=f"{', '.join(titles)} on the tuning split")
    title = "Loss and tuning score over the steps of training"
    return Section("Training", [Picture(draw, (9.6, 2.9), title, text)])


def _line(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any] | None:
    """Return the points of each member and of their mean, None where no record has the key."""
    members: dict[tuple[Any, ...], Points] = {}
    steps: dict[int, list[float]] = {}
    for record in records:
        if record.get(key) is not None:
            member = tuple(record.get(name) for name in ("repeat", "fold", "member"))
            members.setdefault(member, []).append((record["step"], record[key]))
            steps.setdefault(record["step"], []).append(record[key])
    if not members:
        return None

    # The mean of the few members that took more steps than most would jump.
    means = [
        (step, float(np.mean(values)))
        for step, values in sorted(steps.items())
        if 2 * len(values) >= len(members)
    ]
    return {"members": [_thinned(points) for points in members.values()], "mean": _thinned(means)}


def _thinned(points: Points) -> list[list[float]]:
    return [list(points[i]) for i in kept_points(len(points))]


def _draw(canvas: Figure, points: Mapping[str, Any], title: str) -> None:
    """Draw the losses and, where one was taken, the tuning scores: members faint, means strong."""
    panels = canvas.subplots(1, 2 if points["scores"] else 1, squeeze=False)[0]
    parts = [("Loss (lower is better)", points["losses"]), (title, points["scores"])]
    for axes, (words, lines) in zip(panels, parts, strict=False):
        for (name, line), color in zip(lines.items(), COLORS, strict=False):
            _draw_line(axes, name, line, color)
        axes.set(title=words, xlabel="step")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.legend(fontsize=8)


def _draw_line(axes: Axes, name: str, line: Mapping[str, Any], color: str) -> None:
    for member in line["members"] if len(line["members"]) > 1 else ():
        axes.plot(*_columns(member), color=color, lw=0.7, alpha=0.25)
    alone = "o" if len(line["mean"]) == 1 else ""  # a line of one point does not show
    axes.plot(*_columns(line["mean"]), color=color, lw=1.8, marker=alone, label=name)


def _columns(points: Sequence[Sequence[float]]) -> Iterator[tuple[float, ...]]:
    return zip(*points, strict=True)
