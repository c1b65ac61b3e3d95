"""Analyses: a recipe names them, one of its own is a file beside it, and no other file changes."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from clintune.api import Run
from clintune.cli import main
from clintune.config.analyses import default_analyses, shipped_analyses
from clintune.config.compose import compose_recipe
from clintune.core.errors import ConfigError
from clintune.evaluation.analysis import load_analyses, run_analyses, sections_of
from clintune.evaluation.page import Page
from clintune.evaluation.report import render_report
from clintune.report.section import Section
from clintune.tasks.binary import Binary
from conftest import evaluate, train

FAIRNESS = '''
"""How far the groups of a cohort lie apart."""

from clintune.report.section import Section, Text

ON_CARD = True


def requests(modalities):
    from clintune.evaluation.context import Request

    return [Request(variant="notes alone", kept=frozenset({"notes"}))]


def run(context):
    alone = context.raw["held_out"]["notes alone"]["outcome"]
    return {"largest": float(alone.predicted.max()), "num_calibrated": len(context.calibrated)}


def section(result, page):
    return Section("Fairness", [Text(f"The largest risk is {result['largest']:.3f}.")])
'''


def test_an_analysis_beside_the_recipe_reaches_every_page(recipe):
    path = recipe(extra="evaluation: [fairness, calibrated]\n")
    (path.parent / "fairness.py").write_text(FAIRNESS)
    run = train(path, "trainer.max_steps=1")
    evaluate(run)
    metrics = json.loads((run / "metrics.json").read_text())
    results = ["tuning", "held_out", "fairness", "calibrated"]
    assert list(metrics) == [*results, "evaluation", "packages"]
    said = f"The largest risk is {metrics['fairness']['largest']:.3f}."
    assert said in (run / "report.html").read_text()

    assert main(["publish", str(run), "--draft"]) == 0
    card = (run / "release" / "README.md").read_text()
    assert said in card
    assert "Membership inference: not measured." in card


def test_a_trained_run_gets_another_analysis(run_copy, tmp_path, monkeypatch, capsys):
    run = run_copy("trainer.max_steps=1")
    recipe = (run / "recipe.yaml").read_bytes()
    (tmp_path / "extent.py").write_text(FAIRNESS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = ["evaluate", str(run), "--bootstrap", "10"]

    assert main([*words, "evaluation=[extent]"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics) == ["tuning", "held_out", "extent", "evaluation", "packages"]
    assert "The largest risk is" in (run / "report.html").read_text()
    assert (run / "recipe.yaml").read_bytes() == recipe
    assert list(Run(run).evaluate(bootstrap=10, evaluation=["extent", "limits"]))[2] == "extent"

    capsys.readouterr()
    for word, said in (
        ("evaluation=[extend]", "'extend' is no analysis"),
        ("evaluation=[limit]", "did you mean 'limits'?"),
        ("evaluation=limits", "evaluate: 'evaluation' is text; give a list"),
        ("evaluations=[limits]", "did you mean 'evaluation'?"),
    ):
        assert main([*words, word]) == 2
        assert said in capsys.readouterr().err


def test_the_card_shows_the_analyses_that_were_run(run_copy, tmp_path, monkeypatch, capsys):
    run = run_copy("trainer.max_steps=1")
    (tmp_path / "breadth.py").write_text(FAIRNESS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = [str(run), "--bootstrap", "10", "evaluation=[breadth,calibrated]"]
    assert main(["evaluate", *words]) == 0

    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["evaluation"] == ["breadth", "calibrated"]
    assert main(["publish", str(run), "--draft"]) == 0
    said = f"The largest risk is {metrics['breadth']['largest']:.3f}."
    assert said in (run / "release" / "README.md").read_text()

    # A card without an analysis that was run would say less than the report.
    (tmp_path / "breadth.py").unlink()
    monkeypatch.delitem(sys.modules, "breadth")
    assert main(["publish", str(run), "--draft"]) == 2
    assert "publish: 'evaluation': 'breadth' is no analysis" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (np.zeros(2), "result of own is no JSON (Object of type ndarray is not JSON serializable)"),
        ({"share": float("nan")}, "result of own is no JSON (Out of range float values"),
        ({("a", 1): 2}, "result of own is no JSON (keys must be str"),
    ],
)
def test_a_result_that_is_no_json_names_its_analysis(result, says):
    analysis = SimpleNamespace(run=lambda context: result)
    with pytest.raises(ConfigError) as error:
        run_analyses({"own": analysis}, None)
    assert says in str(error.value)
    assert run_analyses({"none": SimpleNamespace(run=lambda context: None)}, None) == {}


@pytest.mark.parametrize(
    ("section", "kind"),
    [("Fine.", "str"), (None, "NoneType"), (Section("Own", "Fine."), "str")],
)
def test_what_is_no_section_names_its_analysis(section, kind):
    analysis = SimpleNamespace(section=lambda result, page: section)
    page = Page(tasks={}, metrics={"own": 1})
    with pytest.raises(ConfigError, match=f"evaluation: own shows a {kind}; let `section` return"):
        sections_of({"own": analysis}, page)


def test_an_analysis_that_is_no_python_names_its_line(recipe):
    path = recipe(extra="evaluation: [unclosed_analysis]\n")
    (path.parent / "unclosed_analysis.py").write_text("def run(context):\n    return (\n")
    with pytest.raises(ConfigError, match=r"unclosed_analysis\.py:2: not Python"):
        compose_recipe(path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[abblations]", "'evaluation': 'abblations' is no analysis; did you mean 'ablations'?"),
        ("[own]", "own.py is no analysis; it lacks section"),
        ("[no.such.module]", "'no.such.module' is no analysis"),
        ("7", "evaluation"),
    ],
)
def test_a_name_that_is_no_analysis_is_refused_at_once(recipe, monkeypatch, names, said):
    path = recipe(extra=f"evaluation: {names}\n")
    (path.parent / "own.py").write_text("def run(context):\n    return 1\n")
    with pytest.raises(ConfigError) as error:
        compose_recipe(path)
    assert said in str(error.value)


def test_every_analysis_of_ours_is_in_the_default_list():
    assert sorted(default_analyses()) == shipped_analyses()


def test_a_report_can_be_drawn_again_from_its_metrics(shared_run):
    run = shared_run("trainer.max_steps=1")
    assert main(["evaluate", str(run), "--bootstrap", "10"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"ablations", "calibrated", "membership", "cohort", "compute", "limits"} <= set(metrics)
    page = Page(tasks={"outcome": Binary(label="deterioration")}, metrics=metrics)
    provenance = json.loads((run / "provenance.json").read_text())
    html = render_report("recipe", page, load_analyses(default_analyses()), provenance)
    assert html == (run / "report.html").read_text()
