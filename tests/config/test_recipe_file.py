"""A recipe file is read whatever its name and mark; what is wrong is said with line and cause."""

import sys

import pytest

from clintune.config.compose import compose_recipe, load_config
from clintune.config.recipes import find_recipe
from clintune.config.signature import may_be
from clintune.config.typed import to_yaml
from clintune.core.errors import ConfigError
from helpers.own_recipe import RECIPE

EXTRA = "modalities: {static: {codes: [LAB//]}}\n"


def compose(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return compose_recipe(path)


@pytest.mark.parametrize(
    "name", ["mine.yaml", "mine.yml", "base.yaml", "schema.yaml", "a=b, c.yaml", "größe (2).yaml"]
)
def test_a_recipe_composes_whatever_its_file_is_called(tmp_path, name):
    config = compose(tmp_path / name, RECIPE + EXTRA)
    assert config.name == (tmp_path / name).stem
    assert config.modalities["static"]["codes"] == ["LAB//"]


def test_a_byte_order_mark_or_no_self_changes_nothing(tmp_path):
    plain = compose(tmp_path / "mine.yaml", RECIPE + EXTRA)
    assert compose(tmp_path / "mine.yaml", b"\xef\xbb\xbf" + (RECIPE + EXTRA).encode()) == plain
    assert compose(tmp_path / "mine.yaml", RECIPE.replace("  - _self_\n", "") + EXTRA) == plain


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; begin it with `defaults:`"),
        (b"# nothing yet\n", "is empty; begin it with `defaults:`"),
        (b"- a\n", "is no mapping of keys"),
        ("name: x\n", "has no list `defaults`"),
        ("defaults: base\n", "has no list `defaults`"),
        (RECIPE.encode() + "# Größe\n".encode("latin-1"), "line 10 is not UTF-8"),
        (RECIPE.encode("utf-16"), "line 1 is not UTF-8"),
        (RECIPE.encode() + b"\0", "not YAML: special characters are not allowed"),
        (RECIPE + "trainer:\n\tlr: 3\n",
         "line 11: found character '\\t' that cannot start any token; indent"),
        (RECIPE + "tasks: {}\n", "line 10: found duplicate key tasks"),
        (RECIPE + "trainer: {lr: [1\n", "line 11: "),
        (RECIPE + "---\na: 1\n", "line 10: but found another document"),
        (RECIPE + "name: " + "[" * 3000, "not YAML"),
        (RECIPE.replace("  - base\n", ""), "its defaults lack `base`"),
        (RECIPE.replace("- base\n", "- _self_\n  - base\n"), "`_self_` stands before `base`"),
        (RECIPE.replace("- modality", "- _self_\n  - modality"),
         "`_self_` stands before `modality`"),
        (RECIPE.replace("- base\n", "- override /backbone: tiny\n  - base\n"),
         "`override /backbone` stands before"),
        (RECIPE.replace("override /backbone", "backbone"), "write - override /backbone: tiny"),
        (RECIPE.replace("[static]", "[statics]"),
         "'statics' is not a choice of modality; did you mean 'static'?"),
        (RECIPE.replace("y: binary", "y: risk"),
         "not a choice of task; known: binary, multiclass, multilabel"),
        (RECIPE.replace("modality:", "modalty:"),
         "'modalty' is not a group of choices; did you mean 'modality'?"),
        (RECIPE + "backbone: tiny\n", "choose it there: - override /backbone: tiny"),
        (RECIPE + "modality: [notes]\n", "choose it there: - modality: [NAME]"),
        (RECIPE.replace("meds: {", "mads: {"),
         "'cohorts.mads' is a cohort of its own beside 'cohorts.meds'"),
        (RECIPE.replace("}}\n", "}, m: {folds: f}}\n", 1),
         "'cohorts.meds' is a cohort of its own beside 'cohorts.m'"),
        (RECIPE.replace("[static]", "[imaging, imaging_vit]"),
         "`imaging` and `imaging_vit` both fill modalities."),
        (RECIPE.replace("[static]", "[notes, notes_native]"),
         "`notes` and `notes_native` both fill modalities."),
        (RECIPE.replace("y: binary", "y: binary\n  - task@tasks.y: multiclass"),
         "both fill tasks.y; choose one"),
        (RECIPE + "trainer: 3\n", "'trainer' is 3; give its keys"),
        (RECIPE + "trainer: [max_steps: 20]\n", "'trainer' is [{'max_steps': 20}]; give its keys"),
        (RECIPE + "max_steps: 20\n",
         "key 'max_steps' does not exist; did you mean 'trainer.max_steps'?"),
        (RECIPE.replace("{root: somewhere}", "{root: [a]}"),
         "'cohorts.meds.root' is a list; give text"),
        (RECIPE.replace("meds: {root: somewhere}", "root: somewhere"),
         "'cohorts.root' lacks a name between; write cohorts.NAME.root"),
        (RECIPE.replace("{meds: {root: somewhere}}", "{meds: {root: x}, splits: {tuning: 0.1}}"),
         "'cohorts.splits' lacks a name between"),
        (RECIPE.replace("{root: somewhere}", "{root: x, source: ./make.py}"),
         "'cohorts.meds.source' is './make.py'"),
        (RECIPE.replace("task@tasks.y: binary", "task: binary"),
         "`task: binary` names no task; write - task@tasks.NAME: binary"),
        (RECIPE.replace("task@tasks.y: binary", "task@y: binary"),
         "`task@y: binary` names no task; write - task@tasks.y: binary"),
        (RECIPE + "trainer:\n", "'trainer' is empty; give its keys"),
        (RECIPE.replace("{root: somewhere}", "3"), "'cohorts.meds' is 3; give its keys"),
        (RECIPE.replace("{root: somewhere}", "{root: x, splits: 0.3}"),
         "'cohorts.meds.splits' is 0.3; give its keys"),
        (RECIPE.replace("tasks: {y:", "tasks: {yes:"),
         "YAML reads the name True as bool; write it in quotes"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_recipe_is_said_in_one_line(tmp_path, content, says):
    with pytest.raises(ConfigError) as caught:
        compose(tmp_path / "mine.yaml", content)
    said = str(caught.value)
    assert said.startswith("mine.yaml: ")
    assert says in said
    assert "\n" not in said
    assert "search path" not in said
    assert str(tmp_path) not in said


@pytest.mark.parametrize(
    "word",
    [
        "modality=[wearable, wearable_gru]",
        "+modality=imaging_cnn",
        "modality='wearable,wearable_cnn'",
    ],
)
def test_choices_that_exclude_each_other_are_refused_there_too(word):
    with pytest.raises(
        ConfigError, match=r"quickstart\.yaml: `[a-z]+` and `[a-z_]+` both fill modalities"
    ):
        compose_recipe(find_recipe("quickstart"), [word])


def test_the_recipe_of_a_run_is_no_recipe_to_train(tmp_path):
    whole = to_yaml(compose(tmp_path / "mine.yaml", RECIPE))
    with pytest.raises(
        ConfigError, match=r"is the recipe of a run as it was resolved; go on with the run"
    ):
        compose(tmp_path / "recipe.yaml", whole)


def test_a_class_whose_bases_no_text_tells_may_be_a_task(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tasks_of_two.py").write_text(
        "from clintune.tasks.binary import Binary\nfrom clintune.tasks import base\n\n\n"
        "class Mixin:\n    pass\n\n\nclass Mine(Mixin, Binary):\n    pass\n\n\n"
        "class Other(base.Task):\n    pass\n"
    )
    for name, may in (("Mine", True), ("Other", True), ("Mixin", False)):
        assert may_be(f"tasks_of_two.{name}", "Task") == may


def test_two_encoders_of_one_kind_may_have_places_of_their_own(tmp_path):
    config = compose(
        tmp_path / "m.yaml",
        RECIPE.replace("[static]", "[imaging]\n  - modality@modalities.small: imaging_cnn"),
    )
    assert set(config.modalities) == {"imaging", "small"}


def test_a_module_beside_the_recipe_is_always_found(
    tmp_path,
):
    (tmp_path / "tasks_of_my_own.py").write_text(
        "from clintune.tasks.binary import Binary\n\n\nclass Mine(Binary):\n    pass\n"
    )
    task = "tasks: {y: {_target_: tasks_of_my_own.Mine, label: y}}"
    text = RECIPE.replace("  - task@tasks.y: binary\n", "").replace("tasks: {y: {label: y}}", task)
    before = list(sys.path)
    try:
        config = compose(tmp_path / "mine.yaml", text)
        assert config.modules == str(tmp_path)
        assert sys.path == [*before, str(tmp_path)], "what is installed comes first"

        (tmp_path / "recipe.yaml").write_text(to_yaml(config))
        sys.path[:] = before
        load_config(tmp_path / "recipe.yaml")
        assert sys.path == [*before, str(tmp_path)]
    finally:
        sys.path[:] = before
    assert compose(tmp_path / "mine.yaml", RECIPE).modules is None
