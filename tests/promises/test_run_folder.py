"""Promise 3: a run is described by its folder alone."""

import json
import shutil
from pathlib import Path

from conftest import evaluate, train


def test_a_run_folder_that_moved_is_evaluated_all_the_same(recipe, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = recipe(Path("cohort"))
    run = train(path, "runs=here")
    evaluate(run)
    metrics = json.loads((run / "metrics.json").read_text())
    path.unlink()
    shutil.move(run, tmp_path / "moved")
    (tmp_path / "moved" / "metrics.json").unlink()
    monkeypatch.chdir(Path("/"))
    evaluate(tmp_path / "moved")
    assert json.loads((tmp_path / "moved" / "metrics.json").read_text()) == metrics
