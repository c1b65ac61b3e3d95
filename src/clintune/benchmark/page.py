"""What a benchmark leaves: its table as Parquet, on the terminal, and as a page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table as PrintedTable

from clintune.benchmark import figures
from clintune.benchmark.method_names import is_own, label
from clintune.benchmark.method_notes import how_measured
from clintune.benchmark.runner import Progress
from clintune.benchmark.suite import Suite
from clintune.benchmark.table import MethodScores, Row, costs, find_entries, make_rows, write_table
from clintune.config.recipes import summary
from clintune.core.console import print_table
from clintune.core.files import write_text
from clintune.evaluation.intervals import MEAN
from clintune.metrics import Metric
from clintune.report.page import render_page as render_page_of
from clintune.report.section import Block, Details, Heading, Points, Section, Text
from clintune.report.table import Cell, Count, Links, Number, Score, Table, readable
from clintune.report.table import Row as LineRow

_WARNING = (
    "These figures compare methods on the same patients. They do not say how well any of them "
    "would do in care."
)


def write_results(suite: Suite, path: Path, progress: Progress, out: Path) -> None:
    """Write `results.parquet` and `index.html` of the finished trials, and print the table.

    `path` is the file of the suite, `out` the folder that is written to.
    """
    rows = make_rows(find_entries(progress.finished))
    if not rows:
        return
    write_table(out / "results.parquet", rows)
    write_text(out / "index.html", render_page(suite, path, rows, progress.failed))
    print_table(*(_printed(name, part) for name, part in _experiments(rows).items()))


def render_page(suite: Suite, path: Path, rows: Sequence[Row], failed: Mapping[str, str]) -> str:
    """Return the page as HTML."""
    parts = _experiments(rows)
    sections = [_section(name, part, suite.experiments[name].axis) for name, part in parts.items()]
    if failed:
        reasons = [f"{title}: {reason}" for title, reason in failed.items()]
        sections.append(Section("Not finished", [Points(reasons)]))
    sections.append(how_measured(rows))
    return render_page_of(f"Benchmark {path.stem}", summary(path), _WARNING, sections)


def _experiments(rows: Sequence[Row]) -> dict[str, list[Row]]:
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(row.entry.experiment, []).append(row)
    return named


def _section(name: str, rows: list[Row], axis: str | None) -> Section:
    """Return what the page says of an experiment: a curve over its axis, or a table a setting."""
    by_setting: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        by_setting.setdefault(row.entry.setting, []).append(row)
    parts = list(by_setting.values())

    # A curve over the shares missing, or over levels that are numbers.
    title = f"{name}: {rows[0].primary[rows[0].main].title} of each method"
    if len({row.entry.missing for row in rows}) > 1:
        axis = "held-out samples that lack each modality, %"
        numbers = [100 * missing for _, _, missing in by_setting]
    else:
        numbers = [float(level) for _, level, _ in by_setting] if axis else []

    blocks: list[Block] = [figures.lines(parts, numbers, axis, title)] if axis else []
    for part in parts:
        blocks += _part(title, part, drawn=not axis)
    return Section(name, blocks)


def _part(title: str, rows: list[Row], *, drawn: bool) -> Iterator[Block]:
    """Yield what the page says of one level and share missing of an experiment."""
    if name := _setting_name(rows[0].entry):
        yield Heading(name)
    if drawn:
        yield figures.dots(rows, title)
    yield _main_table(rows)
    yield Text(f"{readable(Count(rows[0].score.n_subjects))} patients.", "note")

    tasks = {task: metric for task, metric in rows[0].primary.items() if task != rows[0].main}
    if tasks:
        yield Details("Task by task", _task_table(rows, tasks))
    owned = [row for row in rows if is_own(row.entry.method) or row.entry.method == row.baseline]
    if drawn and len(owned) > 2:
        yield figures.prices(owned, f"{title} and its price")


def _main_table(rows: list[Row]) -> Table:
    """Return the main score of each method, its difference to the best baseline, and its costs."""
    title = rows[0].primary[rows[0].main].title
    title += ", mean of all tasks" if rows[0].main == MEAN else ""
    prices = ("Fit, s", "Predict, s", "Memory, MB", "Weights fitted", "Seeds")
    shown = []
    for row in rows:
        runs = {f"seed {a['seed']}": a["run"] for a in row.entry.about if a["run"]}
        is_best = row.entry.method == row.baseline
        change: Cell = "the best" if is_best else "–"
        if row.difference is not None:
            change = Score(row.difference.to_json(), style="signed")

        name, score = Links(label(row.entry.method), runs), Score(row.score.to_json())
        shown.append(LineRow([name, score, change, *_price_cells(row)], _style(row)))
    return Table(["Method", title, "To the best baseline", *prices], shown)


def _task_table(rows: list[Row], tasks: Mapping[str, Metric]) -> Table:
    shown = []
    for row in rows:
        scores = [Score(row.scores[task][m.name].to_json()) for task, m in tasks.items()]
        shown.append(LineRow([label(row.entry.method), *scores], _style(row)))
    return Table(["Method", *(f"{task}, {m.title}" for task, m in tasks.items())], shown)


def _price_cells(row: Row) -> list[Cell]:
    spent = costs(row.entry)
    digits = {"fit_seconds": 1, "predict_seconds": 1, "peak_mb": 0, "parameters": 0}
    numbers = [Number(spent[name], places, "thousands") for name, places in digits.items()]
    return [*numbers, Number(len(row.entry.seeds), 0)]


def _style(row: Row) -> str:
    if is_own(row.entry.method):
        return "own"
    return "best" if row.entry.method == row.baseline else ""


def _printed(name: str, rows: Sequence[Row]) -> PrintedTable:
    first = rows[0].primary[rows[0].main].title
    columns = ("method", first, "95 %", "to the best baseline", "fit s", "MB", "weights", "seeds")
    table = PrintedTable(*columns, title=name, box=SIMPLE)
    setting = None

    for row in rows:
        entry, score, spent = row.entry, row.score, costs(row.entry)
        if entry.setting != setting and _setting_name(entry):
            table.add_row(_setting_name(entry), style="bold")
        setting = entry.setting

        change = ""
        if (found := row.difference) is not None:
            change = f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        table.add_row(
            label(entry.method),
            f"{score.value:.3f}",
            f"{score.low:.3f} to {score.high:.3f}",
            change,
            f"{spent['fit_seconds']:,.1f}",
            f"{spent['peak_mb']:,.0f}",
            "" if spent["parameters"] is None else f"{spent['parameters']:,}",
            str(len(entry.seeds)),
        )
    return table


def _setting_name(entry: MethodScores) -> str:
    """Return the level and share missing in words, empty where an experiment has neither."""
    missing = f"{entry.missing:.0%} missing" if entry.missing else ""
    return ", ".join(filter(None, [entry.level, missing]))
