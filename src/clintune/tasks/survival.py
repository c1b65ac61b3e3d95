"""The time to an event, with follow-up that may end before, and competing kinds of event.

Axes beside those of `contracts`: K kinds of event, J intervals of time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from meds.schema import LabelSchema
from numpy.typing import NDArray
from torch import Tensor

from clintune.cohort.labels import SAMPLE, read_labels
from clintune.core.errors import ConfigError, DataError
from clintune.metrics import Metric
from clintune.metrics.survival import survival_metrics
from clintune.tasks.base import TYPES, Float32s, Task, known_only
from clintune.tasks.figure import Figure
from clintune.tasks.questions import BinaryView
from clintune.tasks.survival_answer import Answer, are_rising
from clintune.tasks.survival_figure import survival_figure
from clintune.tasks.survival_hazards import NUM_TIMES, Hazards

DAYS, EVENT, KIND = (
    LabelSchema.float_value_name,
    LabelSchema.boolean_value_name,
    LabelSchema.categorical_value_name,
)


class Survival(Task):
    """The time to an event, by hazards of J intervals (Gensheimer and Narasimhan, 2019).

    `float_value` holds days from the prediction time to the event or the end of follow-up.
    `boolean_value` says whether the event was observed. With the names of several `events`,
    `categorical_value` names the event instead, and is null where there was none. Intervals end at
    `edges` in days, or at quantiles of the times of training events: `num_intervals` of them, or as
    many as have 11 events each. A follow-up that ends within an interval counts by the share of it.

    Outputs move the logits of the training hazards. The first output moves all intervals alike, as
    proportional hazards do. Each other output acts about one time, so an effect may change over
    time. In each interval the kinds of event and "none of them" are classes. The prediction is a
    curve at days that all folds of a run share, with the risks at `horizons` in days. The labels of
    the first cohort that is read set those days, the scored window, and the horizons where none are
    given (quartiles of the times of events). Raises ConfigError for edges or horizons that do not
    rise, and for fewer than two intervals.
    """

    def __init__(
        self,
        *,
        label: str,
        weight: float = 1.0,
        events: list[str] | None = None,
        num_intervals: int = 20,
        edges: list[float] | None = None,
        horizons: list[float] | None = None,
    ) -> None:
        super().__init__(label=label, weight=weight)

        # Check the settings.
        self.events = list(events or [])
        if len(self.events) == 1 or len(set(self.events)) < len(self.events):
            raise ConfigError(
                f"events of '{label}' are two or more, each named once; leave them out for one"
            )
        if num_intervals < 2:
            raise ConfigError(f"num_intervals of '{label}' is {num_intervals}; give 2 or more")
        for name, days in (("edges", edges), ("horizons", horizons)):
            if days is not None and not are_rising(list(days)):
                raise ConfigError(
                    f"{name} of '{label}' are {list(days)}; give days above 0 that rise"
                )

        # Keep them; `read` and `fit` find the rest.
        self.num_intervals = num_intervals
        self._given_edges = None if edges is None else list(map(float, edges))
        self._given_horizons = None if horizons is None else list(map(float, horizons))
        self._answer: Answer | None = None
        self._hazards = Hazards.flat(self._given_edges or [1.0], self.num_kinds)

    @property
    def num_kinds(self) -> int:
        """Return K."""
        return max(1, len(self.events))

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Return the columns of the days and of the event."""
        return (DAYS, KIND if self.events else EVENT)

    # ---- labels --------------------------------------------------------------------------------

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read days and event (0 is none, else the number of its kind).

        Both are NaN where the days are unknown. Raises DataError for days that are not above 0, an
        event that is not among `events`, and, with one kind of event, days without a word on it.
        """
        table = read_labels(root, self.label, {name: TYPES[name] for name in self.label_columns})
        if table is None:
            return None

        # Refuse wrong rows, and number the kinds of event.
        table = table.with_row_index("row")
        where = f"labels/{self.label} of {root}"
        wrong = table.filter(pl.col(DAYS) <= 0)
        _refuse(wrong, where, f"column {DAYS} is not above 0: write days to event or censoring")

        if self.events:
            foreign = table.filter(~pl.col(KIND).is_in(self.events))
            why = f"column {KIND} is none of the task's events; name it in `events`, or correct it"
            _refuse(foreign, where, why)
            event = self._number_of_kind()
        else:
            silent = table.filter(pl.col(DAYS).is_not_null() & pl.col(EVENT).is_null())
            why = f"column {EVENT} is null beside days: write whether the event was seen"
            _refuse(silent, where, why)
            event = pl.col(EVENT).cast(pl.Float32)

        # Rows without days are unknown.
        days = pl.col(DAYS).cast(pl.Float32)
        known = [
            pl.when(days.is_not_null()).then(part).fill_null(float("nan")) for part in (days, event)
        ]
        table = table.select(*SAMPLE, days=known[0], event=known[1])

        if self._answer is None:
            self._answer = self._find_answer(table.select("days", "event").to_numpy())
        return table.select(*SAMPLE, target=pl.concat_list("days", "event"))

    def fit(self, targets: Float32s) -> None:
        """Learn the intervals and the hazards in them, rounded.

        Raises DataError where the training labels have fewer than two times of events.
        """
        # The first cohort may have too few events to set the days of curves.
        known = targets[~np.isnan(targets).any(axis=1)].astype(np.float64)
        times = known[known[:, 1] > 0, 0]
        self._answer = self._answer or self._find_answer(targets)
        if len(np.unique(times)) < 2 or self._answer is None:
            raise DataError(
                f"labels/{self.label}: the training split has fewer than two times of events; "
                "correct the labels or the split, or drop the task"
            )

        self._hazards = Hazards.of(known, self.num_kinds, self.num_intervals, self._given_edges)

    def _find_answer(self, targets: Float32s) -> Answer | None:
        return Answer.of(targets, self._given_horizons, self._given_edges)

    def state(self) -> dict[str, Any]:
        """Return the days of curves and scores, and what `fit` learnt."""
        return {"answer": self._answer_or_any.to_json(), "hazards": self._hazards.to_json()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`; ValueError for anything else."""
        if state.keys() != {"answer", "hazards"}:
            raise ValueError("does not hold answer and hazards alone")
        self._answer = Answer.from_json(state["answer"])
        self._hazards = Hazards.from_json(state["hazards"], self.num_kinds)

    # ---- training ------------------------------------------------------------------------------

    @property
    def output_names(self) -> list[str]:
        """Return the effect on the hazard of each kind of event, at all times and about some."""
        effects = ["hazard", *(f"hazard about time {number}" for number in range(1, NUM_TIMES + 1))]
        return [f"{kind}{effect}" for kind in self._kinds("") for effect in effects]

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of negative log-likelihoods, and the number of known labels."""
        known, filled, truth = known_only(outputs, targets)
        days, event = truth[:, 0], truth[:, 1].long()
        logs = self._hazards.logs(filled)  # [N, 1 + K, J], none first

        # A sample lived whole intervals and a share of the last one without an event. An event ends
        # its own interval.
        followed = self._hazards.follow_up(days, event)
        losses = -(followed.lived * logs[:, 0]).sum(dim=1)
        rows = torch.arange(len(days), device=days.device)
        losses = losses - torch.where(followed.had_event, logs[rows, event, followed.place], 0.0)
        return torch.where(known, losses, 0.0).sum(), known.sum()

    # ---- answers -------------------------------------------------------------------------------

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the cumulative incidence of each kind of event at each day [N, P].

        Kinds are outermost.
        """
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        curves = self._hazards.incidence(outputs, self._answer_or_any.days)
        return curves.flatten(start_dim=1).float()

    @property
    def predicted_names(self) -> list[str]:
        """Return the kind of event, where there are several, and the day by which it comes."""
        days = self._answer_or_any.days
        return [f"{kind}by {day:g} days" for kind in self._kinds("") for day in days]

    @property
    def predicted_columns(self) -> list[str]:
        """Return the columns of incidences."""
        return [f"predicted_incidence_{name.replace(' ', '_')}" for name in self.predicted_names]

    @property
    def binary_views(self) -> Sequence[BinaryView]:
        """Return whether each kind of event comes by each horizon.

        That is unknown where follow-up ended before the horizon without an event.
        """
        return self._answer_or_any.views(self._kinds("event "))

    def positives(self, targets: Float32s) -> NDArray[np.int64]:
        """Return 1 for each sample that had an event."""
        had: NDArray[np.int64] = (targets[:, 1] > 0).astype(np.int64)
        return had

    def released_names(self, targets: Float32s) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield the kinds of event."""
        yield from ((name, targets[:, 1] == number) for number, name in enumerate(self.events, 1))

    # ---- scores --------------------------------------------------------------------------------

    @property
    def metrics(self) -> Sequence[Metric]:
        """Return concordance, error and calibration over the window and at the horizons."""
        answer = self._answer_or_any
        return survival_metrics(answer.days, answer.window, answer.horizons, self.num_kinds)

    def sample_loss(self, targets: Float32s, predicted: Float32s) -> Float32s:
        """Return the negative log-likelihood of each sample."""
        return -self._answer_or_any.log_likelihood(targets, predicted)

    @property
    def figures(self) -> Sequence[Figure]:
        """Return predicted and observed curves by group of risk, a figure a kind of event."""
        answer = self._answer_or_any
        middle = answer.horizons[len(answer.horizons) // 2]
        return [
            survival_figure(name, number, answer.days, middle, competing=bool(self.events))
            for number, name in enumerate(self.events or [self.label])
        ]

    # ---- tables --------------------------------------------------------------------------------

    def label_table(self, targets: Float32s) -> dict[str, Any]:
        """Return days and event."""
        events = targets[:, 1].astype(np.int64)
        if not self.events:
            return {DAYS: targets[:, 0], EVENT: events > 0}
        names = [None, *self.events]
        return {DAYS: targets[:, 0], KIND: [names[number] for number in events]}

    def prediction_table(self, predicted: Float32s) -> dict[str, Any]:
        """Return the incidences, and the risk by each horizon."""
        risks = {
            f"predicted_risk_{view.name.replace(' ', '_')}": view.risk(predicted)
            for view in self.binary_views
        }
        return {**super().prediction_table(predicted), **risks}

    def targets_from(self, table: pl.DataFrame) -> Float32s:
        """Return days and the number of the kind of event."""
        if self.events and KIND in table.columns:
            table = table.with_columns(self._number_of_kind())
        return super().targets_from(table)

    def _number_of_kind(self) -> pl.Expr:
        """Return the number of the kind of event, from 1; 0 where there was none."""
        numbers = range(1, self.num_kinds + 1)
        return pl.col(KIND).replace_strict(
            self.events, numbers, default=0.0, return_dtype=pl.Float32
        )

    def _kinds(self, only: str) -> list[str]:
        """Return the first word of an answer's name for each kind of event; `only` for one kind."""
        return [f"{name} " for name in self.events] or [only]

    @property
    def _answer_or_any(self) -> Answer:
        """Return the days of curves; before labels are known, the edges of intervals stand in."""
        if self._answer is not None:
            return self._answer
        edges = self._hazards.edges
        return Answer(days=edges, horizons=edges[:1], window=(0.0, edges[-1]))


def _refuse(rows: pl.DataFrame, where: str, why: str) -> None:
    """Raise DataError for the first of the wrong rows, if there is one."""
    if len(rows):
        raise DataError(f"{where}: row {rows['row'][0]}: {why}")
