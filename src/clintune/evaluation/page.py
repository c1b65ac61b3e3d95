"""What pages have in common: templates, how figures are written, where a band of a metric stands."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from clintune.core.text import visible
from clintune.evaluation.disclosure import SMALLEST_SHOWN, shown
from clintune.evaluation.intervals import MEAN
from clintune.metrics import Metric


def page_template(name: str, *folders: Path) -> jinja2.Template:
    """Return the template of a page, from `folders` or beside this file, with the filters and names they share."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    environment.filters |= {"num": _number, "shown": shown, "position": _position, "scale": scale}
    environment.globals |= {"smallest": SMALLEST_SHOWN, "mean_name": MEAN}
    return environment.get_template(name)


def _shown(value: object) -> object:
    """Return what an expression of a page gives, without characters that hide or turn others; figures as they are."""
    return value if isinstance(value, Markup) else visible(value)


def scale(metric: Metric | None) -> tuple[float, float, float] | None:
    """Return where a band of this metric begins, where chance is, and where it ends; None where there is no such."""
    if (
        metric is None
        or metric.chance is None
        or not metric.higher_is_better
        or metric.bounds[1] == float("inf")
    ):
        return None
    return metric.chance - (metric.bounds[1] - metric.chance) / 5, metric.chance, metric.bounds[1]


def _number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _position(value: float, low: float, high: float) -> float:
    """Return where a value stands between two ends, from 0 to 100."""
    return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)
