"""Values of a recipe are checked against its classes and the schema, without an import."""

import importlib
import inspect
from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf

from clintune.config.compose import compose_recipe
from clintune.config.parts import instantiate_section
from clintune.config.recipes import find_recipe
from clintune.config.signature import parameters
from clintune.core.errors import ConfigError, StoppedError
from helpers.components import CONFIGS, component, names
from helpers.own_recipe import RECIPE


def targets():
    groups = ("modality", "task")
    return sorted({component(group, name)["_target_"] for group in groups for name in names(group)})


@pytest.mark.parametrize("target", targets())
def test_a_signature_read_from_source_is_that_of_the_class(target):
    module, _, name = target.rpartition(".")
    init = getattr(importlib.import_module(module), name).__init__
    signature, hints = inspect.signature(init).parameters, get_type_hints(init)
    found = parameters(target)
    assert found.keys() == signature.keys() - {"self"}
    for key, parameter in found.items():
        assert parameter.required == (signature[key].default is inspect.Parameter.empty), key
        assert parameter.annotation == hints[key], key


@pytest.mark.parametrize("group", ["modality", "task", "tracker"])
def test_a_default_in_a_config_is_that_of_its_class(group):
    for name in names(group):
        part = component(group, name)
        if "defaults:" in (CONFIGS / group / f"{name}.yaml").read_text():
            continue  # it is there to differ
        module, _, target = part.pop("_target_").rpartition(".")
        known = inspect.signature(getattr(importlib.import_module(module), target)).parameters
        assert part.keys() <= known.keys(), name
        for key, value in part.items():
            default = known[key].default
            default = list(default or []) if isinstance(value, list) else default
            if known[key].default is not inspect.Parameter.empty and "${" not in str(value):
                assert default == value, key


def test_a_type_that_only_an_import_would_tell_takes_anything():
    assert (
        parameters("clintune.cohort.datasets.depresjon.import_depresjon")["raw"].annotation is Any
    )


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        (
            "icu_admission",
            "modalities.notes.mode=frozn",
            "'modalities.notes.mode' is 'frozn'; give frozen, lora or full",
        ),
        (
            "icu_admission",
            "modalities.static.codes=AGE",
            "'modalities.static.codes' is 'AGE'; give a list of texts or null",
        ),
        (
            "depression_actigraphy",
            "modalities.wearable.days=abc",
            "'modalities.wearable.days' is 'abc'; give a whole number",
        ),
        (
            "depression_actigraphy",
            "modalities.wearable.rest=10",
            "'modalities.wearable.rest' is 10; give a list of numbers",
        ),
        (
            "quickstart",
            "tasks.deterioration.weight=heavy",
            "'tasks.deterioration.weight' is 'heavy'; give a number",
        ),
        (
            "quickstart",
            "tasks.deterioration.label=null",
            "'tasks.deterioration.label' is null; give text",
        ),
        (
            "icu_admission",
            "modalities.imaging.flip=0",
            "'modalities.imaging.flip' is 0; give true or false",
        ),
        (
            "quickstart",
            "adapter.mode=lore",
            "'adapter.mode' lore does not exist; use lora, frozen or full",
        ),
        (
            "quickstart",
            "model.readout=prob",
            "'model.readout' prob does not exist; use trained, probe, boosted or null",
        ),
        (
            "quickstart",
            "trainer.schedule=cosin",
            "'trainer.schedule' cosin does not exist; use cosine, linear or constant",
        ),
        ("quickstart", "trainer.batch_size=0", "'trainer.batch_size' is 0; give 1 or more"),
        ("quickstart", "model.head_dropout=1.5", "'model.head_dropout' is 1.5; give 0 to 0.99"),
        (
            "quickstart",
            "cohorts.quickstart.lookback_hours=-1",
            "'cohorts.quickstart.lookback_hours' is -1.0; give 0 to 10000000",
        ),
        (
            "quickstart",
            "cohorts.quickstart.splits.tuning=2",
            "'cohorts.quickstart.splits.tuning' is 2.0; give 0 to 1",
        ),
        (
            "quickstart",
            "tracker._target_=os.system",
            "'tracker': _target_ os.system: os is of Python itself; "
            "name a class of clintune or your own",
        ),
        (
            "quickstart",
            "modalities.notes={_target_: os.system}",
            "'modalities.notes': _target_ os.system is no modality; "
            "name a class that derives from Modality",
        ),
        *[
            (
                "quickstart",
                f"tasks.deterioration._target_={target}",
                f"'tasks.deterioration': _target_ {target} is no task; "
                "name a class that derives from Task",
            )
            for target in ("os.system", "subprocess.run", "clintune.modalities.static.Static")
        ],
        (
            "quickstart",
            "tasks.deterioration._target_=Binary",
            "'tasks.deterioration': _target_ Binary: names no module; "
            "give the full path, as package.module.Binary",
        ),
    ],
)
def test_a_value_that_misfits_is_refused_with_what_would_fit(recipe, override, message):
    with pytest.raises(ConfigError) as caught:
        compose_recipe(find_recipe(recipe), [override, "data.raw=."])
    assert str(caught.value) == f"{recipe}.yaml: {message}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.lr=1e400"], "'trainer.lr' is inf; give a finite number"),
        (["trainer.clip=nan"], "'trainer.clip' is nan; give a finite number"),
        (["tasks.y.weight=inf"], "'tasks.y.weight' is inf; give a finite number"),
        (["tasks.y.weight=-1"],
         "'tasks.y.weight' is -1: the task would be trained to be wrong; give 0 or more"),
        (["tasks.y.weight=0"], "every task has weight 0: nothing would be learned; raise one"),
        (["seed=-1"], "'seed' is -1; give 0 or more"),
        (["cohorts.meds.splits.seed=-1"], "'cohorts.meds.splits.seed' is -1; give 0 or more"),
        (["cv_repeats=2"], "'cv_repeats' is set without cv; add cv=5"),
        (["cv=folds.csv", "cv_repeats=2"],
         "'cv' names a file of folds, which cannot be repeated; set cv_repeats=1"),
        (["cv=folds.csv", "+cohort=quickstart"],
         "'cv' names a file, but the run has several cohorts; "
         "set cohorts.NAME.folds and cv to a number"),
        *[([f"cv={cv}"], f"'cv' is {cv}; give 2 to 1000 folds, a file of folds, or null")
          for cv in ("0", "1", "-3", "5.5", "true", "[3]", "1000000")],
        (["trainer.epochs=0"],
         "'trainer.epochs' is 0: nothing would train; "
         "raise it, or add model.readout=probe for a probe alone"),
        (["trainer.max_steps=0"],
         "'trainer.max_steps' is 0: nothing would train; "
         "raise it, or add model.readout=probe for a probe alone"),
        (["trainer.lr=0"],
         "'trainer.lr' is 0: nothing would be learned; "
         "raise it (adapter=frozen keeps the backbone as it is)"),
        (["trainer.head_lr=0"],
         "'trainer.head_lr' is 0: heads and projectors would not learn; "
         "raise it, or set null for trainer.lr"),
        (["trainer.average=1"],
         "'trainer.average' is 1: the average would never move; give less, as 0.99"),
        (["trainer.clip=0"], "'trainer.clip' is 0: no gradient would pass; raise it, as to 1.0"),
        (["adapter.r=100000"], "'adapter.r' is 100000; give 1 to 4096"),
        (["trainer.epochs=1e30"], "'trainer.epochs' is 1e+30; give 0 to 1000000000"),
        (["trainer.workers=5000"], "'trainer.workers' is 5000; give 0 to 1024"),
        (["runs=''"], "'runs' is empty; name a folder (. is where you are)"),
        (["cohorts.meds.root=''"],
         "'cohorts.meds.root' is empty; name a folder (. is where you are)"),
        (["cohorts.meds.root=\udcff"],
         "'cohorts.meds.root' holds \\udcff, which is no character of UTF-8; write a character"),
        (["trainer.metric=aurocc"],
         "'trainer.metric': 'aurocc' is a metric of no task; did you mean 'auroc'?"),
        (["cohorts.meds.splits.stratify=z"],
         "'cohorts.meds.splits.stratify': 'z' is none of the tasks; known: y"),
        (["cohorts.meds.splits.group=site", "cohorts.meds.splits.held_out_groups=[north]"],
         "'cohorts.meds.splits.group' names a column of cohorts.meds.groups; set that to the file"),
        (["cohorts.meds.splits.group=site", "cohorts.meds.groups=g.csv"],
         "'cohorts.meds.splits.held_out_groups' is empty; "
         "name the groups of site that are held out"),
        (["cv=3", "cohorts.meds.splits={group: site, held_out_groups: [a]}",
          "cohorts.meds.groups=g.csv"],
         "'cohorts.meds.splits.group' holds out groups, and 'cv' folds; set one of them to null"),
        (["cohorts.meds.splits.held_out_groups=[a]"],
         "'cohorts.meds.splits.held_out_groups' names groups of no column; "
         "set cohorts.meds.splits.group"),
        (["cohorts.meds.splits={group: subject_id, held_out_groups: [a]}",
          "cohorts.meds.groups=g.csv"],
         "'cohorts.meds.splits.group' is subject_id, of which each subject is a group; "
         "name another column"),
        (["cohorts.meds.splits.train_share=0"],
         "'cohorts.meds.splits.train_share' is 0: nobody would train; raise it"),
        (["cohorts.meds.lookback_hours=1e300"],
         "'cohorts.meds.lookback_hours' is 1e+300; give 0 to 10000000"),
        (["cohorts.meds.splits.tuning=0.5", "cohorts.meds.splits.held_out=0.5"],
         "'cohorts.meds.splits': tuning 0.5 and held_out 0.5 leave nothing to train on; "
         "lower them"),
        (["cv=3", "cohorts.meds.splits.tuning=1"],
         "'cohorts.meds.splits': tuning 1.0 leave nothing to train on; lower them"),
        (["strategy=single", "cluster.processes=2"],
         "strategy=single takes one process, and 'cluster' asks for 2; use strategy=ddp or fsdp2"),
        (["strategy=single", "cluster=slurm", "cluster.nodes=2", "cluster.gpus_per_node=4"],
         "strategy=single takes one process, and 'cluster' asks for 8; use strategy=ddp or fsdp2"),
        (["+cohort=quickstart", "cohorts.meds.root=/x/y/", "cohorts.quickstart.root=/x/../x/y"],
         "'cohorts.meds' and 'cohorts.quickstart' are one folder, /x/y: the same people would "
         "train and test; drop one of them, also from the defaults"),
        (["+cohort=quickstart", "cohorts.meds.root=s3://b/c", "cohorts.quickstart.root=s3://b/c/"],
         "'cohorts.meds' and 'cohorts.quickstart' are one folder, s3://b/c: the same people "
         "would train and test; drop one of them, also from the defaults"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(tmp_path, words, message):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    with pytest.raises(ConfigError) as caught:
        compose_recipe(tmp_path / "mine.yaml", words)
    assert str(caught.value) == f"mine.yaml: {message}"


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.max_steps=0", "model.readout=probe"],
        ["trainer.lr=0", "trainer.head_lr=0.1", "adapter=frozen"],
        ["cv=2", "cv_repeats=3"],
        ["cv=2", "cohorts.meds.splits.tuning=0.5", "cohorts.meds.splits.held_out=0.5"],
        ["cohorts.meds.splits.stratify=y"],
        ["trainer.metric=loss"],
        ["name=study/arm"],
        ["strategy=single", "cluster.gpus_per_node=1"],
        ["+cohort=quickstart"],
    ],
)
def test_what_can_be_meant_is_accepted(tmp_path, words):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    compose_recipe(tmp_path / "mine.yaml", words)


@pytest.mark.parametrize(
    "name", ["/abs/x", "../x", "a/b", "a\x1b[31mb", "a.b", "training", "mean", " "]
)
@pytest.mark.parametrize("section", ["tasks", "modalities", "cohorts"])
def test_a_name_that_is_no_part_of_a_path_is_refused(tmp_path, section, name):
    config = OmegaConf.to_container(OmegaConf.create(RECIPE))
    config.setdefault(section, {})[name] = {"root": "x"} if section == "cohorts" else BINARY
    (tmp_path / "mine.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    if section == "cohorts" and name in ("a.b", "training", "mean"):
        compose_recipe(tmp_path / "mine.yaml")
        return
    with pytest.raises(ConfigError) as caught:
        compose_recipe(tmp_path / "mine.yaml")
    assert f"a name in '{section}'" in str(caught.value)
    assert "use another name" in str(caught.value)
    assert str(caught.value).isprintable()


BINARY = {"_target_": "clintune.tasks.binary.Binary", "label": "y"}


def test_what_a_constructor_refuses_names_its_part():
    rhythm = {"_target_": "clintune.modalities.rhythm.Rhythm"}
    for values, message in (
        ({"rest": []}, "features and rest say what is computed; give at least one of each"),
        ({"features": ["rythm"]}, "features 'rythm' does not exist; choose among profile"),
        ({"max_pieces": 0}, "max_pieces is 0; give 1 or more"),
    ):
        with pytest.raises(ConfigError, match=f"modalities.wearable: {message}"):
            instantiate_section("modalities", {"wearable": rhythm | values})


def stop():
    raise StoppedError(15)


def test_a_signal_while_a_part_is_made_is_not_its_fault():
    with pytest.raises(StoppedError):
        instantiate_section("modalities", {"wearable": {"_target_": f"{__name__}.stop"}})
