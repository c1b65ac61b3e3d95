"""What the pages tell people to write and run works."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from clintune.cli import VERBS
from clintune.config.compose import compose_recipe
from clintune.config.overrides import sweep
from clintune.config.recipes import find_recipe
from clintune.contracts import Predictions, RowColumns
from clintune.core.errors import DataError
from clintune.testing import check_modality, check_task

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S)


def run(code):
    names = {}
    exec(compile(code, "page", "exec"), names)
    return names


def commands():
    for page in PAGES:
        for line in page.read_text().splitlines():
            if re.match(r"    clintune \w", line):
                yield pytest.param(
                    shlex.split(line.partition("#")[0]),
                    id=f"{page.name}: {line.split('#')[0].strip()}",
                )


@pytest.mark.parametrize(
    ("number", "name", "settings"),
    [(0, "Vectors", {"length": 16}), (1, "PHQ9", {"max_pieces": 2})],
)
def test_a_modality_of_the_page_keeps_the_contract(number, name, settings, tmp_path, monkeypatch):
    # A reader is pickled, so its class must stand in a module.
    (tmp_path / f"my_{name}.py").write_text(blocks("add_a_modality.md", "python")[number])
    monkeypatch.syspath_prepend(tmp_path)
    modality = getattr(import_module(f"my_{name}"), name)
    for _, check in check_modality(lambda: modality(**settings), tmp_path):
        check()


def test_the_questionnaire_of_the_page_groups_and_refuses():
    names = run(blocks("add_a_modality.md", "python")[1])
    reader = names["PHQ9Reader"](max_pieces=2).numbered(["OTHER", "PHQ9//9", "PHQ9//1"])
    rows = RowColumns(
        code=np.array([1, 1, 2, 2, 1, 0], np.int32),
        value=np.array([3, 1, 2, 7, np.nan, 0], np.float32),
        hours=np.array([48.0, 24, 24, 0, 0, 5]),
        owner=np.array([0, 0, 0, 0, 0, 2]),
    )
    made = reader.preprocess_rows(rows)

    assert made.owner.tolist() == [0, 0, 2]
    assert made.hours.tolist() == [24, 0, 5]
    assert made.tensors["answered"].sum(1).tolist() == [2, 0, 0]
    assert made.tensors["answers"][0, [0, 8]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert reader.num_pieces(rows, 4).tolist() == [3, 0, 1, 0]
    with pytest.raises(DataError, match=r"^PHQ9//1: some value is not 0, 1, 2 or 3"):
        reader.fit([rows.take(np.array([3]))], ["OTHER", "PHQ9//9", "PHQ9//1"])


def test_the_task_of_the_page_keeps_the_contract():
    names = run(blocks("add_a_task.md", "python")[0])
    targets = np.array([[0], [1], [np.nan], [4], [0], [2], [1], [0]], dtype=np.float32)
    for _, check in check_task(lambda: names["Count"](label="visits_1y"), targets):
        check()


def test_the_analysis_of_the_page_hides_small_groups():
    names = run(blocks("add_an_analysis.md", "python")[0])
    sites = pl.DataFrame({"subject_id": range(30), "site": ["a"] * 25 + ["b"] * 5})
    part = Predictions(
        cohort=np.full(30, "here"),
        subject_id=np.arange(30),
        prediction_time=[],
        fold=np.zeros(30, np.int64),
        targets=np.ones((30, 1), np.float32),
        predicted=np.linspace(0, 1, 30, dtype=np.float32)[:, None],
    )
    context = SimpleNamespace(groups={"here": sites}, calibrated={"held_out": {"icu": part}})
    found = names["run"](context)
    assert found["site a, icu"] == {"number": 25, "found": pytest.approx(10 / 25)}

    large, small = names["section"](found, None).blocks[1].shown()
    assert [str(cell) for cell in large.cells] == ["site a, icu", "25", "0.400"]
    assert [str(cell) for cell in small.cells] == ["site b, icu", "<11", "–"]


def test_the_request_of_the_page_is_one():
    requests = run(blocks("add_an_analysis.md", "python")[1])["requests"]
    (asked,) = requests(["notes", "static"])
    assert (asked.variant, asked.kept) == ("without_notes", {"static"})


def test_the_recipe_of_the_page_composes(tmp_path):
    (tmp_path / "readmission.yaml").write_text(blocks("bring_your_data.md", "yaml")[0])
    config = compose_recipe(tmp_path / "readmission.yaml")
    assert config.cohorts["meds"].splits.stratify == "readmission"


def test_the_conversion_of_the_page_writes_a_meds_table(tmp_path, monkeypatch):
    from meds import DataSchema

    monkeypatch.chdir(tmp_path)
    run(blocks("bring_your_data.md", "python")[0])
    DataSchema.validate(pl.read_parquet("data.parquet").to_arrow().cast(DataSchema.schema()))


@pytest.mark.parametrize("words", list(commands()))
def test_commands_name_verbs_recipes_and_keys_that_exist(words):
    assert words[1] in VERBS
    overrides = [word for word in words[3:] if "=" in word]
    recipe = next((word for word in words[2:] if not word.startswith("-")), None)
    if words[1] in {"train", "show"} and recipe and not recipe.startswith(("runs/", "./", "RUN")):
        if "-m" in words:
            overrides = sweep([word for word in words if "=" in word])[0]
        compose_recipe(find_recipe(recipe), overrides)
