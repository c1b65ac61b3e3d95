"""The page: whole and self-contained, with the runs a click away."""

import re

import pytest

from clintune.benchmark.page import render_page
from clintune.benchmark.suite import Experiment, Suite
from clintune.benchmark.table import find_entries, make_rows
from helpers.finished_trials import written


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# Which <method> is best.\n")
    finished = dict(
        [
            *(written(tmp_path, "logistic", seed, 0.3) for seed in (0, 1)),
            *(
                written(tmp_path, "lora", seed, 0.2, run=f"runs/e/all/lora/{seed}")
                for seed in (0, 1)
            ),
            written(tmp_path, "full", 0, 0.25, run="runs/e/all/full/0"),
        ]
    )
    rows = make_rows(find_entries(finished), replicates=20)
    failed = {"e full seed 1": "out of <memory>"}
    return render_page(
        Suite(experiments={"e": Experiment(recipe="quickstart")}), path, rows, failed
    )


def test_the_page_needs_nothing_else(page):
    assert "Which &lt;method&gt; is best." in page
    assert "out of &lt;memory&gt;" in page
    links = re.findall(r'(?:href|src)="([^"#]+)"', page)
    assert links == ["runs/e/all/lora/0", "runs/e/all/lora/1", "runs/e/all/full/0"]
    assert not re.findall(r'\b(?:url\(["\']?http|@import|<script|<link)', page)


def test_ids_are_told_apart_and_every_method_stands_in_the_table(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for name in ("logistic regression, all", "clintune, lora", "clintune, full"):
        assert name in page
