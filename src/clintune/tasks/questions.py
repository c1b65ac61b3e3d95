"""Questions of a task whose answers exclude each other, and views of them as yes or no.

Axes beside those of `contracts`: P columns of a task's predictions, G questions of a task, C
answers to one question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions

Float32s = NDArray[np.float32]
YES_OR_NO = ("no", "yes")


@dataclass(frozen=True, kw_only=True)
class BinaryView:
    """A yes-or-no question that the predictions of a task of any kind can answer.

    An empty `name` stands for that of the task. `outcome` turns targets [N, T] into 0, 1 and NaN
    (unknown) [N]. `risk` turns predictions [N, P] into the probability of yes [N].
    """

    name: str
    outcome: Callable[[Float32s], Float32s]
    risk: Callable[[Float32s], Float32s]

    def of(self, predictions: Predictions) -> Predictions:
        """Return the predictions of a task as those of this question: targets and risks [N, 1]."""
        targets, risks = self.outcome(predictions.targets), self.risk(predictions.predicted)
        return replace(predictions, targets=targets[:, None], predicted=risks[:, None])


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question whose answers exclude each other: yes or no, or one of several classes.

    An empty `name` stands for that of the task. Column `column` of the targets holds the number of
    the answer. Columns `outputs` of the predictions hold the probability of yes, or one probability
    for each class.
    """

    name: str
    answers: tuple[str, ...]
    column: int
    outputs: slice

    @property
    def is_multiclass(self) -> bool:
        """Return whether each answer has a column of the predictions; else only yes has one."""
        return bool(self.outputs.stop - self.outputs.start > 1)

    def chances(self, predicted: Float32s) -> Float32s:
        """Return the probability of each answer [N, C] of predictions [N, P]."""
        part = predicted[:, self.outputs]
        return part if self.is_multiclass else np.concatenate([1 - part, part], axis=1)

    def views(self) -> list[BinaryView]:
        """Return the question as yes or no: itself, or each class against the others."""
        if not self.is_multiclass:
            column, output = self.column, self.outputs.start
            return [BinaryView(name=self.name, outcome=_column(column), risk=_column(output))]

        return [
            BinaryView(
                name=answer,
                outcome=_is_answer(self.column, number),
                risk=_column(self.outputs.start + number),
            )
            for number, answer in enumerate(self.answers)
        ]


def yes_or_no(names: Sequence[str]) -> list[Question]:
    """Return a yes-or-no question for each column of targets.

    The same column of predictions answers it.
    """
    return [
        Question(name=name, answers=YES_OR_NO, column=i, outputs=slice(i, i + 1))
        for i, name in enumerate(names)
    ]


def one_of(classes: Sequence[str]) -> list[Question]:
    """Return the one question: which class it is."""
    return [Question(name="", answers=tuple(classes), column=0, outputs=slice(0, len(classes)))]


def _column(number: int) -> Callable[[Float32s], Float32s]:
    return lambda table: table[:, number]


def _is_answer(column: int, answer: int) -> Callable[[Float32s], Float32s]:
    def outcome(targets: Float32s) -> Float32s:
        found = targets[:, column]
        return np.where(np.isnan(found), np.nan, found == answer).astype(np.float32)

    return outcome
