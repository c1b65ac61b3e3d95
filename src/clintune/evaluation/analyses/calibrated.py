"""Scores and groups of calibrated probabilities: those that a released model answers with."""

from collections.abc import Mapping
from typing import Any

from clintune.evaluation.analyses.groups import group_scores, group_tables
from clintune.evaluation.context import HELD_OUT, Context
from clintune.evaluation.intervals import intervals, to_json
from clintune.evaluation.page import Page
from clintune.evaluation.scores import score_table
from clintune.report.section import Block, Heading, Section, Text

ON_CARD = True


def run(context: Context) -> dict[str, Any]:
    """Return `held_out` by task and metric, and `groups` by column, group, task and metric."""
    scored = context.scored(context.calibrated[HELD_OUT])
    found = {HELD_OUT: to_json(intervals(scored, replicates=context.replicates))}
    groups = group_scores(context, scored)
    return found if groups is None else found | {"groups": groups}


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return the scores of each task and group, under another name where none is calibrated."""
    title = "Scores after calibration" if page.has_questions else "Scores"
    what = "calibrated probabilities" if page.has_questions else "the answers"
    explained = f"Of {what} of held-out patients; 95 % intervals from a bootstrap over patients."
    blocks: list[Block] = [Text(explained), *score_table(page, HELD_OUT, result[HELD_OUT])]
    if "groups" in result:
        blocks += group_tables(result["groups"], page)
    else:
        blocks += [
            Heading("Groups of patients"),
            Text("Not looked at: the cohorts name no groups."),
        ]
    return Section(title, blocks)
