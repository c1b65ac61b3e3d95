"""Overrides hold any path, name keys that exist, and are one value unless a sweep is asked."""

import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.config.compose import compose_recipe, compose_scoring
from clintune.config.overrides import quoted, read_overrides, sweep
from clintune.core.errors import ConfigError
from helpers.own_recipe import RECIPE


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path / "mine.yaml"


PATHS = [
    "/plain", "~/data", "/müller", "/study=2", "/study(2)", "/o'brien", "/c#1", "/site[1]", "/a{b}",
    "/a b & c;d", "/'q'", "/日本", "/50%", "/a\\b", "data(2)", "/behind ", " /before",
    "s3://bucket/a?x=1", "/d/out=a/batch_size=3", '/say "so"',
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_needs_no_quotes(recipe, path):
    word = f"data.raw={path}"
    assert compose_recipe(recipe, [word]).data.raw == path
    swept, _ = read_overrides(sweep([word, "seed=1,2"])[1])
    assert OverridesParser.create().parse_override(swept).value() == path


@pytest.mark.parametrize("path", PATHS[::4])
def test_a_path_of_a_scoring_job_needs_no_quotes(path):
    assert compose_scoring("org/name", ["cohort=quickstart", f"out={path}"]).out == path


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1))
@settings(max_examples=50)
def test_any_text_can_be_quoted(text):
    (override,) = read_overrides([f"data.raw={quoted(text)}"])
    assert OverridesParser.create().parse_override(override).value() == text


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("+foo=1", "key 'foo' does not exist"),
        ("+trainer.max_stepz=7",
         "key 'trainer.max_stepz' does not exist; did you mean 'max_steps'?"),
        ("++trainer.max_stepz=7",
         "key 'trainer.max_stepz' does not exist; did you mean 'max_steps'?"),
        ("+cohorts.meds.lookback=7", "did you mean 'lookback_hours'?"),
        ("+cohorts.meds.splits.stratum=7", "key 'cohorts.meds.splits.stratum' does not exist"),
        ("+modalities.static.code=[a]",
         "'modalities.static.code' is not a key of Static; did you mean 'codes'?"),
        ("+tasks.y._partial_=true", "'tasks.y._partial_' is not a key of Binary"),
        ("+cohorts.two.root=/x", "'cohorts.two' cannot be added by an override"),
        ("~trainer.max_steps", "'trainer.max_steps' cannot be taken away"),
        ("~trainer.max_stepz", "'trainer.max_stepz' cannot be taken away"),
        ("~tasks", "a section cannot be taken away"),
        ("~trainer", "a section cannot be taken away"),
        ("tasks={}", "changes nothing; take away entries, as ~tasks.NAME"),
        ("hydra.run.dir=x", "Hydra's own keys have no effect here"),
        ("+hydra.x=1", "Hydra's own keys have no effect here"),
        ("hydra/launcher=x", "Hydra's own keys have no effect here"),
        ("adapter.r=4,8", "add -m (`clintune train -m`)"),
        ("trainer.lr", "is no KEY=VALUE; write both as one word"),
        ("trainer.lr = 3", "write both as one word, without spaces"),
        ("= 3", "is no KEY=VALUE"),
        ("trainer.lr=[1", "close brackets and quotes"),
        ("trainer.batch_size=1.5", "'trainer.batch_size' is 1.5; give a whole number"),
        ("seed=x", "'seed' is x; give a whole number"),
        ("trainer.lr=null", "'trainer.lr' is null; give a value"),
        ("data.raw=${oc.env:NO_SUCH_VARIABLE}",
         "environment variable NO_SUCH_VARIABLE, which is not set"),
        ("trainer.lr=${trainer.lrr}", "asks for ${trainer.lrr}, which does not exist"),
        ("tracker=null",
         "'tracker' is null; name a choice (none, tensorboard or wandb), or set one of its keys"),
        ("trainer=20",
         "'trainer' is 20; name a choice (default), or set one of its keys, as trainer.KEY=VALUE"),
        ("cohort=/tmp/x", "'cohort' is the path /tmp/x; write cohorts.meds.root=/tmp/x"),
        ("cohorts.meds=/tmp/x", "'cohorts.meds' is /tmp/x; write cohorts.meds.root=/tmp/x"),
        ("cohorts=/x", "'cohorts' is text; give each cohort its keys, as cohorts.NAME.root=FOLDER"),
        ("cohorts=[a]",
         "'cohorts' is a list; give each cohort its keys, as cohorts.NAME.root=FOLDER"),
        ("cohorts.root=/x", "key 'cohorts.root' does not exist; did you mean 'cohorts.NAME.root'?"),
        ("tasks=readm", "'tasks' is text; give each entry its keys, as tasks.NAME.KEY=VALUE"),
        ("name=[a]", "'name' is a list; give text"),
        ("cohorts.meds.root=[a,b]", "'cohorts.meds.root' is a list; give text"),
        ("runs={a: 1}", "'runs' is a mapping; give text"),
        ("cohorts.meds.splits=0.2",
         "'cohorts.meds.splits' is 0.2; give its keys, as cohorts.meds.splits.KEY=VALUE"),
        ("cohorts.meds.splits=[1]",
         "'cohorts.meds.splits' is a list; give its keys, as cohorts.meds.splits.KEY=VALUE"),
        ("cluster.setup=module load", "'cluster.setup' is text; give a list, as [a,b]"),
        ("cluster.setup={a: 1}", "'cluster.setup' is a mapping; give a list, as [a,b]"),
        ("backbone.config=x", "'backbone.config' is text; give a mapping, as {KEY: VALUE}"),
        ("~trainer.lr",
         "'trainer.lr' cannot be taken away with ~; give it a value, as trainer.lr=VALUE"),
        ("trainer.lr=${trainer.lr}", "'trainer.lr' asks for itself; give the value"),
        ("data.shared=maybe", "'data.shared' is maybe; give true or false"),
        ("trainer.max_steps=", "'trainer.max_steps' is empty; give a whole number"),
        ("max_steps=20", "key 'max_steps' does not exist; did you mean 'trainer.max_steps'?"),
        ("trainer/max_steps=20",
         "key 'trainer/max_steps' does not exist; did you mean 'trainer.max_steps'?"),
        ("source=x",
         "key 'source' does not exist; did you mean 'backbone.source' or 'cohorts.NAME.source'?"),
        *[(f"cohorts.meds.source={value}",
           f"'cohorts.meds.source' is {shown}; give a mapping with _target_, or null")
          for value, shown in (("x.py", "'x.py'"), ("{a: 1}", "{'a': 1}"), ("[a]", "['a']"))],
        ("adapter=none", "'none' is not a choice of adapter; known: frozen, full, lora, qlora"),
        ("task@tasks.z=binary",
         "the recipe chooses no 'task@tasks.z'; did you mean 'task@tasks.y'?"),
        ("name=../x", "'name' '../x' leaves its folder"),
        ("name=/x", "'name' '/x' leaves its folder"),
        ("name=", "'name' '' is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_override_is_said_in_one_line(recipe, word, says):
    with pytest.raises(ConfigError) as caught:
        compose_recipe(recipe, [word])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "provider" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("keep=maybe", "'keep' is maybe; give true or false"),
        ("trusted=x", "'trusted' is text; give a list, as [a,b]"),
        ("max_steps=3", "key 'max_steps' does not exist; known: "),
        (
            "cohorts.quickstart.source=x.py",
            "'cohorts.quickstart.source' is 'x.py'; give a mapping with _target_",
        ),
    ],
)
def test_a_wrong_word_of_a_scoring_job_is_said_alike(word, says):
    with pytest.raises(ConfigError) as caught:
        compose_scoring("org/name", ["cohort=quickstart", word])
    assert says in str(caught.value)


def test_a_key_that_the_recipe_leaves_out_is_set_by_its_name(recipe, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (recipe.parent / "own_phq.py").write_text(
        "from clintune.modalities.static import Static\n\n\n"
        "class Scores(Static):\n"
        "    def __init__(self, *, prefix: str = 'PHQ', **options):\n"
        "        super().__init__(**options)\n"
    )
    task = "n: {_target_: clintune.tasks.regression.Regression, label: y}"
    text = recipe.read_text().replace("tasks: {", f"tasks: {{{task}, ")
    recipe.write_text(f"{text}modalities: {{phq: {{_target_: own_phq.Scores}}}}\n")

    config = compose_recipe(recipe, ["modalities.phq.prefix=GAD//", "tasks.n.weight=2.5"])
    assert config.modalities["phq"] == {"_target_": "own_phq.Scores", "prefix": "GAD//"}
    assert config.tasks["n"]["weight"] == 2.5
    with pytest.raises(ConfigError, match=r"'modalities\.phq\.prefx' is not a key of Scores; did"):
        compose_recipe(recipe, ["modalities.phq.prefx=GAD//"])


def test_what_may_be_added_is(recipe):
    words = ["+modality=notes", "+task@tasks.z=binary", "tasks.z.label=z", "+cohort=quickstart"]
    config = compose_recipe(
        recipe, [*words, "+cohorts.meds.storage.endpoint_url=http://x", "~tasks.y"]
    )
    assert list(config.modalities) == ["static", "notes"]
    assert list(config.tasks) == ["z"]
    assert list(config.cohorts) == ["meds", "quickstart"]
    assert config.cohorts["meds"].storage == {"endpoint_url": "http://x"}
