"""What a benchmark leaves: the table as Parquet, on the terminal, and as one page that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from clintune.benchmark import figures
from clintune.benchmark.method_names import is_own, label
from clintune.benchmark.runner import Progress
from clintune.benchmark.suite import Suite
from clintune.benchmark.table import MethodScores, Row, costs, find_entries, make_rows, write_table
from clintune.config.recipes import summary
from clintune.core.console import print_table
from clintune.core.files import write_text
from clintune.evaluation.page import page_template


def write_results(suite: Suite, path: Path, progress: Progress, out: Path) -> None:
    """Write `results.parquet` and `index.html` of the finished trials to `out`, and print the table.

    `path` is the file of the suite.
    """
    rows = make_rows(find_entries(progress.finished))
    if not rows:
        return
    write_table(out / "results.parquet", rows)
    write_text(out / "index.html", render_page(suite, path, rows, progress.failed))
    print_table(*(_printed(name, part) for name, part in _experiments(rows).items()))


def render_page(suite: Suite, path: Path, rows: Sequence[Row], failed: Mapping[str, str]) -> str:
    """Return the page as HTML."""
    sections = [
        _section(number, name, part, suite.experiments[name].axis)
        for number, (name, part) in enumerate(_experiments(rows).items())
    ]
    return page_template("page.html.j2", Path(__file__).parent).render(
        name=path.stem,
        summary=summary(path),
        sections=sections,
        num_seeds=max(len(row.entry.seeds) for row in rows),
        libraries=sorted(
            {about["library"] for row in rows for about in row.entry.about if about.get("library")}
        ),
        failed=failed,
    )


def _experiments(rows: Sequence[Row]) -> dict[str, list[Row]]:
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(row.entry.experiment, []).append(row)
    return named


def _section(number: int, name: str, rows: list[Row], axis: str | None) -> dict[str, Any]:
    """Return what the page tells of an experiment."""
    places = list(dict.fromkeys(row.entry.setting for row in rows))
    parts = [[row for row in rows if row.entry.setting == setting] for setting in places]
    first = rows[0].primary[rows[0].main]
    title = f"{name}: {first.title} of each method"
    if len({row.entry.missing for row in rows}) > 1:
        axis, numbers = (
            "held-out samples that lack each modality, %",
            [100 * missing for _, _, missing in places],
        )
    else:
        numbers = [float(level) for _, level, _ in places] if axis else []
    return {
        "name": name,
        "main": rows[0].main,
        "metric": first,
        "curve": figures.lines(parts, numbers, axis, f"curve{number}", title) if axis else None,
        "parts": [
            _part(f"part{number}-{i}", title, part, drawn=not axis) for i, part in enumerate(parts)
        ],
    }


def _part(prefix: str, title: str, rows: list[Row], *, drawn: bool) -> dict[str, Any]:
    """Return what the page tells of one level and share missing of an experiment."""
    owned = [row for row in rows if is_own(row.entry.method) or row.entry.method == row.baseline]
    return {
        "name": _place_name(rows[0].entry),
        "tasks": {task: metric for task, metric in rows[0].primary.items() if task != rows[0].main},
        "dots": figures.dots(rows, f"{prefix}-dots", title) if drawn else None,
        "prices": figures.prices(owned, f"{prefix}-prices", f"{title} and its price")
        if drawn and len(owned) > 2
        else None,
        "rows": [_line(row) for row in rows],
        "subjects": rows[0].score.n_subjects,
    }


def _line(row: Row) -> dict[str, Any]:
    return {
        "method": label(row.entry.method),
        "own": is_own(row.entry.method),
        "best": row.entry.method == row.baseline,
        "scores": {
            task: row.scores[task][metric.name].to_json() for task, metric in row.primary.items()
        },
        "score": row.score.to_json(),
        "difference": row.difference.to_json() if row.difference else None,
        "costs": costs(row.entry),
        "seeds": len(row.entry.seeds),
        "runs": {about["seed"]: about["run"] for about in row.entry.about if about["run"]},
    }


def _printed(name: str, rows: Sequence[Row]) -> Table:
    first = rows[0].primary[rows[0].main].title
    columns = ("method", first, "95 %", "to the best baseline", "fit s", "MB", "weights", "seeds")
    table = Table(*columns, title=name, box=SIMPLE)
    setting = None

    for row in rows:
        entry, score, spent = row.entry, row.score, costs(row.entry)
        if entry.setting != setting and _place_name(entry):
            table.add_row(_place_name(entry), style="bold")
        setting = entry.setting
        change = row.difference
        table.add_row(
            label(entry.method),
            f"{score.value:.3f}",
            f"{score.low:.3f} to {score.high:.3f}",
            ""
            if change is None
            else f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})",
            f"{spent['fit_seconds']:,.1f}",
            f"{spent['peak_mb']:,.0f}",
            "" if spent["parameters"] is None else f"{spent['parameters']:,}",
            str(len(entry.seeds)),
        )
    return table


def _place_name(entry: MethodScores) -> str:
    """Return the level and share missing in words, empty where an experiment has neither."""
    missing = f"{entry.missing:.0%} missing" if entry.missing else ""
    return ", ".join(filter(None, [entry.level, missing]))
