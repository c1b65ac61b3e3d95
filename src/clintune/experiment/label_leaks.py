"""Find data that tell the label by themselves: a code, a row or a missing file.

Each training subject counts once in a test. Tests are made of the last labelled sample of each
subject, and of the first. Each test is corrected for the number of tests.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.cohort.shards import CODE, NUMBER
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.experiment.limits import Counted
from clintune.tasks.base import Task

ALPHA = 0.05
"""Chance of any false alarm among the tests of one kind."""
ALMOST_ALONE = 0.98
"""AUROC above which one code tells a label almost alone."""
_TELLING = 0.6
"""AUROC above which a sentence says that the absence of a modality tells the label."""
_MOST = 50_000
"""Training subjects that suffice for any test."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Answered:
    """A yes-or-no question of a task, and the answers of some subjects."""

    name: str
    answers: NDArray[np.float32]
    """Answer of each subject [S]: 1 yes, 0 no, NaN unknown."""

    @property
    def known(self) -> Bools:
        """Return whether the answer of each subject is known [S]."""
        return ~np.isnan(self.answers)

    @property
    def yes(self) -> Bools:
        """Return whether the answer of each subject is yes [S]."""
        yes: Bools = self.answers == 1
        return yes

    @property
    def num_answers(self) -> int:
        """Return how many different answers are known."""
        return len(np.unique(self.answers[self.known]))


@dataclass(frozen=True)
class SeenRows:
    """The rows that subjects see of one modality.

    `owner`, `code`, `value` and `hours` [P] are of the newest row of each subject and code.
    """

    present: Bools
    """Whether a subject sees anything of it [S]."""
    unreadable: Bools
    """Whether a subject sees an item that cannot be read [S]."""
    owner: NDArray[np.int64]
    code: NDArray[np.int64]
    value: NDArray[np.float64]
    hours: NDArray[np.float64]


def find_leaks(
    samples: Samples,
    rows: NDArray[np.int64],
    tasks: Mapping[str, Task],
    modalities: Sequence[str],
    sources: Mapping[str, Counted],
) -> list[str]:
    """Return a sentence for each modality or code that tells a label almost alone.

    `rows` are the training samples. `sources` tell which items cannot be read; a modality without a
    source counts as readable. Codes that fewer than 11 subjects have are not named.
    """
    found: list[str] = []
    codes = samples.codes().to_list()
    for name, task in tasks.items():
        last = one_labelled(samples, rows, samples.targets(name), last=True)
        first = one_labelled(samples, rows, samples.targets(name), last=False)

        for chosen in (last,) if np.array_equal(first, last) else (last, first):
            answered = answered_questions(name, task, samples.targets(name)[chosen])
            num_tests = 2 * len(answered) * len(modalities)
            differing = [question for question in answered if question.num_answers > 1]

            for modality in modalities:
                seen = _seen(samples, chosen, modality, sources.get(modality), len(codes))
                for question in differing:
                    found += _missing(modality, seen, question, num_tests)
                    found += _codes(modality, seen, question, codes, num_tests)

    # What both kinds of samples tell is said once, with the numbers of the last samples.
    by_what = {sentence.partition(" (")[0]: sentence for sentence in reversed(found)}
    return list(reversed(by_what.values()))


def check_answers(
    samples: Samples, rows: Mapping[str, NDArray[np.int64]], tasks: Mapping[str, Task]
) -> tuple[list[str], bool]:
    """Return a sentence for each split in which a task has one answer only, and whether to train.

    A task can be learnt if it has training labels that differ in any of its outputs; one such task
    is enough.
    """
    said, learnable = [], False
    for name, task in tasks.items():
        for split, mine in rows.items():
            # Count the questions with one answer, and with none.
            answered = answered_questions(name, task, samples.targets(name)[mine])
            single = [question.name for question in answered if question.num_answers == 1]
            absent = [question.name for question in answered if question.num_answers == 0]
            varied = len(answered) - len(single) - len(absent)

            if split == "train":
                learnable = learnable or varied > 0 or _differ(samples.targets(name)[mine])
            if single and varied == 0:
                said.append(
                    f"tasks.{name}: the {split} split has one answer only; {_CONSEQUENCE[split]}"
                )
            elif single:
                said.append(
                    f"tasks.{name}: "
                    f"{len(single)} of {len(answered)} outputs have one answer in the {split} split"
                )
    return said, learnable


_CONSEQUENCE = {
    "train": "nothing can be learnt from it",
    "tuning": "it cannot choose the best step, nor calibrate",
    "held_out": "it cannot be scored",
}


def answered_questions(name: str, task: Task, targets: NDArray[np.float32]) -> list[Answered]:
    """Return the yes-or-no questions that a task can answer, with the answers of targets [S, T]."""
    return [
        Answered(f"{name}/{view.name}" if view.name else name, view.outcome(targets))
        for view in task.binary_views
    ]


def _differ(targets: NDArray[np.float32]) -> bool:
    """Return whether any two of the known targets [S, T] differ."""
    known = targets[~np.isnan(targets).any(axis=1)]
    return bool((known != known[:1]).any())


def one_labelled(
    samples: Samples, rows: NDArray[np.int64], targets: NDArray[np.float32], *, last: bool
) -> NDArray[np.int64]:
    """Return the last, or first, sample of each subject that has a known target.

    They are of the samples `rows`, and at most `_MOST`.
    """
    labelled = np.sort(rows[~np.isnan(targets[rows]).all(axis=1)])[:: -1 if last else 1]
    chosen = labelled[np.unique(samples.subject[labelled], return_index=True)[1]]
    return np.sort(chosen)[:: -(-len(chosen) // _MOST) or 1]


def aurocs(
    code: NDArray[np.int64], score: NDArray[np.float64], yes: Bools, num_codes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each code [C], the AUROC of its rows, and how many of them are yes and no.

    `score` [P] are the scores of the rows, `code` [P] their codes. AUROC is NaN if all rows are yes
    or all are no. Ties count half.
    """
    # Rank the rows within each code; rows of one score share the middle of their ranks.
    order = np.lexsort((score, code))
    code, score, yes = code[order], score[order], yes[order]
    starts = np.flatnonzero(np.r_[True, (code[1:] != code[:-1]) | (score[1:] != score[:-1])])
    sizes = np.diff(np.r_[starts, len(code)])
    middle = np.repeat(starts + (sizes + 1) / 2, sizes) if len(code) else np.empty(0)
    rank = middle - np.searchsorted(code, code, "left")

    # Mann-Whitney statistic of each code.
    num_yes, num_no = (np.bincount(code[part], minlength=num_codes) for part in (yes, ~yes))
    above = np.bincount(code[yes], rank[yes], minlength=num_codes) - num_yes * (num_yes + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return above / (num_yes * num_no), num_yes, num_no


def _seen(
    samples: Samples, rows: NDArray[np.int64], modality: str, source: Counted | None, num_codes: int
) -> SeenRows:
    """Return what the subjects of the samples `rows` see of a modality."""
    # Mark who sees anything of it, and who sees what cannot be read.
    seen = samples.seen(modality, rows)
    present, unreadable = np.zeros((2, len(rows)), np.bool_)
    present[seen.owner] = True
    if source is not None:
        unreadable[seen.owner[source.lengths(seen.number, np.zeros_like(seen.number)) == 0]] = True

    # Take the newest row of each subject and code.
    code = samples.column(modality, CODE, seen.number).astype(np.int64)
    pair = seen.owner * num_codes + code
    newest = seen.take(len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1])
    return SeenRows(
        present=present,
        unreadable=unreadable,
        owner=newest.owner,
        code=samples.column(modality, CODE, newest.number).astype(np.int64),
        value=samples.column(modality, NUMBER, newest.number).astype(np.float64),
        hours=newest.hours,
    )


def _missing(modality: str, seen: SeenRows, question: Answered, num_tests: int) -> Iterator[str]:
    """Yield a sentence if a modality's absence, or its unreadable items, tell the answers.

    Fisher's exact test decides.
    """
    from scipy.stats import fisher_exact  # imported here: it takes most of a second

    yes, known = question.yes, question.known
    for absent, where, least in (
        (seen.unreadable, "items that cannot be read", 0.5),
        (~seen.present, "its absence", _TELLING),
    ):
        table = np.array([[(absent & known & side).sum() for side in (yes, ~yes)],
                          [(~absent & known & side).sum() for side in (yes, ~yes)]])  # fmt: skip

        shares = table[0] / table.sum(axis=0)
        auroc = 0.5 + abs(shares[0] - shares[1]) / 2
        if auroc > least and (p := fisher_exact(table).pvalue) < ALPHA / num_tests:
            answer = "yes" if shares[0] > shares[1] else "no"
            yield (
                f"modality {modality}: {where} can tell the label of {question.name}: "
                f"more often so where it is {answer} (p = {p:.2g} on training subjects); "
                "restore what is missing, or leave it out for all"
            )


def _codes(
    modality: str, seen: SeenRows, question: Answered, codes: Sequence[str], num_tests: int
) -> Iterator[str]:
    """Yield a sentence for each code whose presence, newest value or time tells the answers."""
    # Count who has each code.
    yes, known = question.yes, question.known
    mine = known[seen.owner]
    code, answer = seen.code[mine], yes[seen.owner[mine]]
    num_codes = len(codes)
    totals = [int((yes & known).sum()), int((~yes & known).sum())]
    has = [np.bincount(code[part], minlength=num_codes) for part in (answer, ~answer)]
    enough = has[0] + has[1] >= SMALLEST_SHOWN
    alpha = ALPHA / max(3 * num_tests * int(enough.sum()), 1)

    # Score presence, values and times.
    presence = 0.5 + (has[0] / totals[0] - has[1] / totals[1]) / 2
    scored = [(presence, np.full(num_codes, totals[0]), np.full(num_codes, totals[1]), "")]
    for score, what in ((seen.value[mine], ", its value"), (seen.hours[mine], ", its time")):
        finite = np.isfinite(score)
        scored.append((*aurocs(code[finite], score[finite], answer[finite], num_codes), what))

    # Name each code once.
    named = set[int]()
    for auroc, num_yes, num_no, what in scored:
        telling = np.maximum(auroc, 1 - auroc)
        for number in np.flatnonzero(enough & (telling >= ALMOST_ALONE)).tolist():
            yeses, noes = num_yes[number], num_no[number]
            if yeses + noes < SMALLEST_SHOWN or number in named:
                continue
            if _chance(telling[number], yeses, noes) >= alpha:
                continue

            named.add(number)
            yield (
                f"modality {modality}, code {codes[number]}{what}: "
                f"tells the label of {question.name} almost alone "
                f"(AUROC {telling[number]:.3f} on training subjects); "
                "if it is written after the outcome, take it out of `codes`, or out of the cohort"
            )


def _chance(auroc: float, num_yes: int, num_no: int) -> float:
    """Return the two-sided p of an AUROC by the normal approximation of the Mann-Whitney test."""
    deviation = sqrt((num_yes + num_no + 1) / (12 * num_yes * num_no))
    return erfc(abs(auroc - 0.5) / deviation / sqrt(2))
