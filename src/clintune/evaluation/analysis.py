"""What an analysis is, and how those that a recipe names are found."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from clintune.config.analyses import default_analyses, module_of
from clintune.config.schema import Config
from clintune.core.errors import ConfigError
from clintune.evaluation.context import Context, Request
from clintune.evaluation.page import Page
from clintune.report.section import Block, Section


class Analysis(Protocol):
    """A module that answers one question about a run.

    It may also have `requests(modalities)`, which returns the predictions that it wants beside
    those of all modalities, and `ON_CARD = True` where a model card shows its section, too. Of a
    run of folds, an analysis for the card is also made of each fold by itself.
    """

    def run(self, context: Context) -> Any:
        """Return the result as plain values for `metrics.json`, None where there is nothing."""

    def section(self, result: Any, page: Page) -> Section:
        """Return what a page shows of a result, read back from `metrics.json`."""


Analyses = dict[str, Analysis]
"""By the name of the result in `metrics.json`, in the order of the page."""


def analysis_names(config: Config) -> list[str]:
    """Return the analyses that a recipe names."""
    return default_analyses() if config.evaluation is None else list(config.evaluation)


def evaluated_names(metrics: Mapping[str, Any], config: Config) -> list[str]:
    """Return the analyses that `evaluate` ran; those of the recipe where it did not say so."""
    return metrics.get("evaluation") or analysis_names(config)


def load_analyses(names: Iterable[str]) -> Analyses:
    """Import the analyses of these names."""
    return {
        name.rpartition(".")[2]: cast(Analysis, import_module(module_of(name))) for name in names
    }


def requests_of(analyses: Analyses, modalities: Sequence[str]) -> list[Request]:
    """Return the predictions that the analyses want."""
    return [
        request
        for analysis in analyses.values()
        if hasattr(analysis, "requests")
        for request in analysis.requests(modalities)
    ]


def of_card(analyses: Analyses) -> Analyses:
    """Return the analyses that a model card shows."""
    return {name: part for name, part in analyses.items() if getattr(part, "ON_CARD", False)}


def run_analyses(analyses: Analyses, context: Context) -> dict[str, Any]:
    """Return the result of each analysis that has one; ConfigError for one that is no JSON."""
    found = {}
    for name, analysis in analyses.items():
        result = analysis.run(context)
        if result is None:
            continue
        try:
            json.dumps(result, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"evaluation: the result of {name} is no JSON ({error}); let `run` return texts, "
                "int, float, bool, None, lists and mappings, and None in the place of NaN"
            ) from error
        found[name] = result
    return found


def sections_of(analyses: Analyses, page: Page) -> list[Section]:
    """Return the section of each analysis that `metrics.json` has a result of.

    Raises ConfigError where an analysis returns something else.
    """
    return [
        _checked(name, analysis.section(page.metrics[name], page))
        for name, analysis in analyses.items()
        if name in page.metrics
    ]


def _checked(name: str, section: Any) -> Section:
    """Return the section of an analysis; ConfigError for anything else."""
    found = section
    if isinstance(section, Section):
        strange = [block for block in section.blocks if not isinstance(block, Block)]
        if not strange:
            return section
        found = strange[0]
    raise ConfigError(
        f"evaluation: {name} shows a {type(found).__name__}; let `section` return a Section of "
        "texts, tables and figures (clintune.report.section)"
    )
