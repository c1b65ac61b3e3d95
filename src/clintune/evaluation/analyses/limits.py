"""What a reader must know before trusting a score: what was left out, what none can show."""

from collections.abc import Sequence

import polars as pl

from clintune.core.files import read_json
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page
from clintune.experiment.limits import read_limits
from clintune.experiment.resume import changes_in_words
from clintune.report.section import Points, Section

_ALWAYS = (
    "The result holds for patients like these. Another hospital, device, time or way of coding can "
    "change it: test there before anything else.",
    "The intervals show the chance of the draw of patients. They do not show errors in the labels, "
    "nor the choices made while building the model.",
    "A good ranking is not yet a benefit. Whether acting on these predictions helps patients has "
    "to be shown in a study.",
)


def run(context: Context) -> list[str]:
    """Return sentences about this run."""
    config, notes = context.config, []

    if config.ensemble > 1:
        notes.append(
            f"Probabilities are the average of {config.ensemble} models trained with different "
            "seeds."
        )
    if config.per_subject:
        notes.append(
            "Each patient counts once: the probabilities of a patient's samples are averaged."
        )
    if (context.run / "unreadable.csv").exists():
        number = len(pl.read_csv(context.run / "unreadable.csv", glob=False))
        notes.append(
            f"{number} items could not be read and were left out; unreadable.csv in the run folder "
            "lists them."
        )

    changes = changes_in_words(read_json(context.run / "provenance.json"))
    return [*notes, *read_limits(context.run)["sentences"], *changes]


def section(result: Sequence[str], page: Page) -> Section:
    """Return them, and those that hold for every run."""
    return Section("Limits", [Points([*result, *_ALWAYS])])
