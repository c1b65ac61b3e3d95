"""What a job lacks is said in a second, before torch is imported, in the dry run too."""

import sys
from pathlib import Path

import pytest

from clintune.cli import main
from clintune.launch import gpus
from clintune.verbs.beforehand import check_trusted
from conftest import run_python
from helpers.own_recipe import RECIPE


@pytest.fixture
def mine(tmp_path, quickstart):
    path = tmp_path / "mine.yaml"
    path.write_text(
        RECIPE.replace("somewhere", str(quickstart)).replace("label: y", "label: deterioration")
    )
    return path


LACKS = [
    (
        ["cohorts.meds.root=/nowhere"],
        "cohorts.meds.root: /nowhere is not a folder; correct the path",
    ),
    (["cohorts.meds.root=/"], "/data: holds no Parquet file"),
    (["tasks.y.label=nosuch"], "tasks.y.label: no cohort has the label 'nosuch' (looked for "),
    (["cohorts.meds.groups=g.csv"], "cohorts.meds.groups: "),
    (["cv=3", "cohorts.meds.folds=f.csv"], "cohorts.meds.folds: "),
    (["cv=f.csv"], "f.csv: is missing; write it"),
    (["cluster=slurm"], "cluster=slurm: sbatch is not on this machine"),
    (["cluster.gpus_per_node=8"], "'cluster.gpus_per_node' is 8, but this machine has 0 GPUs"),
    (["trainer.precision=fp16"], "trainer.precision=fp16 needs a GPU; use bf16 or fp32"),
    (
        ["strategy=fsdp2", "strategy.cpu_offload=true"],
        "strategy.cpu_offload needs a GPU, and several processes",
    ),
    (
        ["backbone.source=/nowhere/model"],
        "'backbone.source': /nowhere/model is no folder; give a local folder, a hub",
    ),
    (
        ["+modality=notes", "modalities.notes.source=./no"],
        "'modalities.notes.source': ./no is no folder",
    ),
    (
        ["+modality=notes", "modalities.notes.tokenizer=a/b/c"],
        "'modalities.notes.tokenizer': a/b/c is no folder",
    ),
    (["runs=/dev/null/runs"], "/dev/null/runs cannot be written to"),
    (
        ["modules=/nowhere"],
        "'modules': /nowhere is no folder; name that of your Python modules, or drop it",
    ),
    (
        ["modalities.static.width=100000"],
        "modalities.static.width is out of bounds (1 to 16384), as docs/package.md has them; no",
    ),
    (["adapter.targets='.*query'"], "adapter.targets is neither a list of names nor all-linear"),
    (["quickstart"], "train: 'quickstart' is a second recipe; give one recipe at a time"),
    (["./other.yaml"], "train: './other.yaml' is a second recipe"),
    (
        ["cv=3", "trainer.patience=2", "cohorts.meds.splits.tuning=0"],
        "'trainer.patience' waits for tuning scores",
    ),
]


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_a_run_lacks_is_said_before_torch_is_imported(mine, monkeypatch, dry):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    verbs = [["train", *dry, str(mine), *words] for words, _ in LACKS]
    code = (
        "import sys; from clintune.cli import main; "
        "print([main(verb) for verb in VERBS], 'torch' in sys.modules)"
    )
    done = run_python("-c", code.replace("VERBS", repr(verbs)))
    assert done.stdout == f"{[2] * len(LACKS)} False\n", done.stderr
    for line, (_, says) in zip(done.stderr.splitlines(), LACKS, strict=True):
        assert says in line


@pytest.mark.parametrize("tracker", ["wandb", "tensorboard"])
def test_a_tracker_that_is_missing_is_refused_at_once(mine, monkeypatch, capsys, tracker):
    monkeypatch.setattr("clintune.verbs.beforehand.is_installed", lambda module: module != tracker)
    words = [f"tracker={tracker}", *(["tracker.project=x"] if tracker == "wandb" else [])]
    assert main(["train", "--dry-run", str(mine), *words]) == 2
    said = capsys.readouterr().err
    assert (
        f"'tracker' needs the Python package {tracker}; pip install 'clintune[{tracker}]'" in said
    )


def test_raw_data_that_are_missing_are_named_with_their_source(tmp_path, capsys):
    words = [f"data.cache={tmp_path}", f"data.raw={tmp_path}"]
    assert main(["train", "icu_admission", *words]) == 2
    assert (
        f"cohorts.covid_cxr.source.raw: {tmp_path}/covid_cxr is missing" in capsys.readouterr().err
    )


def test_predict_looks_at_the_cohort_first(tmp_path, capsys):
    assert main(["predict", "org/name", "cohort=./nowhere", f"out={tmp_path / 'out'}"]) == 2
    assert "cohorts.meds.root: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_never_trained_cannot_be_evaluated(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("name: x\nbackbone: {source: random}\n")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert (
        f"was not trained; go on with `clintune train --resume {tmp_path}`"
        in capsys.readouterr().err
    )
    (tmp_path / "recipe.yaml").write_text("")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "recipe.yaml: not a whole config of this version" in capsys.readouterr().err


@pytest.fixture
def finished(tmp_path):
    """Return a folder that looks like a trained run, as far as a recipe and a provenance go."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: x\nbackbone: {source: random}\n")
    (run / "provenance.json").write_text("{}")
    return run


def refused_without_torch(*words):
    """Return the one line by which a verb refuses its words, which imports no torch."""
    code = f"import sys; from clintune.cli import main; code = main({list(map(str, words))!r})"
    done = run_python("-c", f"{code}; sys.exit(3 if 'torch' in sys.modules else code)")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("package", ["package", "package/member-0"])
def test_a_package_without_its_manifest_leads_to_no_resume(finished, capsys, package):
    (finished / package).mkdir(parents=True)
    (finished / package / "parts.safetensors").touch()
    ensemble = 2 if "member" in package else 1
    (finished / "recipe.yaml").write_text(
        f"name: x\nbackbone: {{source: random}}\nensemble: {ensemble}\n"
    )
    assert main(["evaluate", str(finished)]) == 2
    said = capsys.readouterr().err
    assert (
        f"{finished / package}: MANIFEST.json is missing; restore the package, or train anew\n"
        in said
    )


def test_a_run_is_not_compared_with_itself(finished, capsys):
    assert main(["evaluate", str(finished), "--against", f"{finished}/../run"]) == 2
    assert (
        f"--against {finished}/../run is the run itself; name another one"
        in capsys.readouterr().err
    )


def test_fp16_needs_a_gpu_to_score_too(quickstart, monkeypatch, capsys):
    monkeypatch.setattr("clintune.verbs.beforehand.num_gpus", lambda: 0)
    assert main(["predict", "org/name", f"cohort={quickstart}", "precision=fp16"]) == 2
    assert "predict: precision=fp16 needs a GPU; use bf16 or fp32\n" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["export", "predict"])
def test_a_trusted_module_must_be_found(finished, quickstart, tmp_path, capsys, verb):
    (finished / "package").mkdir()
    (finished / "package" / "parts.safetensors").touch()
    (finished / "recipe.yaml").write_text(f"modules: {tmp_path}\n")
    where = f"out={tmp_path / 'out'}"
    words = (
        ["--trust", "nosuch.tasks"]
        if verb == "export"
        else [f"cohort={quickstart}", "trusted=[nosuch.tasks]"]
    )
    assert main([verb, str(finished), where, *words]) == 2
    assert (
        f"{verb}: no Python module nosuch.tasks to trust; correct its name"
        in capsys.readouterr().err
    )

    (tmp_path / "nosuch.py").touch()
    check_trusted(verb, str(finished), ["nosuch.tasks", "json"])


def test_a_package_not_there_is_said_before_torch_is_imported(finished, tmp_path):
    said = refused_without_torch("evaluate", finished)
    assert (
        f"evaluate: {finished}/package: no package there; "
        "train the run to its end (clintune train --resume" in said
    )
    said = refused_without_torch("publish", finished, "--draft")
    assert f"{finished}: not evaluated; run `clintune evaluate {finished}` first" in said
    (tmp_path / "data").mkdir()
    for folder in (finished, tmp_path):
        said = refused_without_torch("export", folder, f"out={tmp_path / 'out'}")
        assert (
            f"{folder}: no package there; give a package, or a run that was trained to its end"
            in said
        )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--resume"], "--resume: name the folder of a run: clintune train --resume"),
        (["quickstart", "--resume", "RUN"], "in place of the recipe: clintune train --resume RUN"),
        (
            ["--resume", "RUN", "trainer.max_stesp=40"],
            "'trainer.max_stesp' does not exist; did you mean 'max_steps'?",
        ),
        (
            ["--resume", "RUN", "trainr.max_steps=40"],
            "key 'trainr' does not exist; did you mean 'trainer'?",
        ),
        (
            ["RUN"],
            "recipe RUN: is the folder of a run; go on with it by `clintune train --resume RUN`",
        ),
    ],
)
def test_a_run_that_goes_on_is_asked_for_in_right_words(finished, capsys, words, says):
    assert main(["train", *(str(finished) if word == "RUN" else word for word in words)]) == 2
    assert says.replace("RUN", str(finished)) in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "publish"])
def test_a_folder_inside_a_run_leads_to_the_run(finished, capsys, verb):
    assert main([verb, str(finished / "package")]) == 2
    assert f"no recipe.yaml there; give the run itself, {finished}" in capsys.readouterr().err


def test_what_is_no_recipe_is_said_with_what_to_give(mine, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "text.txt").write_text(RECIPE)
    for path, says in [
        (tmp_path, f"is a folder; give one of its files, as {mine}"),
        (tmp_path / "empty", "is a folder; give the path of a file that ends in .yaml"),
        (tmp_path / "text.txt", "its name does not end in .yaml; rename it to text.yaml"),
        (tmp_path / "folder.yaml", "is a folder; give the path of a file that ends in .yaml"),
    ]:
        assert main(["train", str(path)]) == 2
        assert f"clintune: recipe {path}: {says}\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train"], "train: the following arguments are required: RECIPE (`"),
        (["train", "--dryrun", "quickstart"], "did you mean '--dry-run'?"),
        (["evaluate", "x", "--bootstrap", "-5"], "'-5' is no whole number of 10 or more"),
        (["evaluate", "x", "--bootstrap", "9"], "'9' is no whole number of 10 or more"),
        (
            ["predict", "x", "cohort = /x"],
            "override 'cohort = /x' is no KEY=VALUE; write both as one word, without",
        ),
        (["evaluate", "x", "--processes", "0"], "'0' is no whole number of 1 or more"),
        (["predict", "x", "cohort=mine"], "the path of a folder needs a slash, as ./NAME"),
        (
            ["predict", "--resume"],
            "predict --resume: name the folder of a job: clintune predict --resume OUT",
        ),
        (["cache", "--clear", "--older-than", "abc"], "'abc' is no number of days, 0 or more"),
        (["cache", "--clear", "--older-than", "nan"], "'nan' is no number of days, 0 or more"),
        (["cache", "--clear", "--older-than", "-1"], "'-1' is no number of days, 0 or more"),
        (
            ["benchmark", "real", "seedz=[1]"],
            "key 'seedz' is one of neither suite nor recipe; did you mean 'seed",
        ),
        (
            ["benchmark", "real", "trainr.lr=1"],
            "key 'trainr' is one of neither suite nor recipe; did you mean 'trainer'?",
        ),
    ],
)
def test_a_wrong_argument_is_one_line(capsys, words, says):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("visible", "number"), [("", 0), ("-1", 0), ("0", 1), ("0,1,2", 3), ("0,-1,2", 1), ("1,", 1)]
)
def test_the_devices_that_cuda_may_see_are_counted(visible, number):
    assert gpus._listed(visible) == number


def test_a_module_beside_the_recipe_is_found_by_every_verb(
    recipe, quickstart, tmp_path, monkeypatch, capsys
):
    (tmp_path / "tasks_beside.py").write_text(
        "from clintune.tasks.binary import Binary\n\n\nclass Mine(Binary):\n    pass\n"
    )
    path = recipe()
    path.write_text(
        path.read_text()
        .replace("  - task@tasks.outcome: binary\n", "")
        .replace("{label: deterioration}", "{_target_: tasks_beside.Mine, label: deterioration}")
    )

    def clintune(*words):
        """Run a verb from elsewhere, as a process would that has not met the module yet."""
        sys.modules.pop("tasks_beside", None)
        monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
        assert main([*map(str, words)]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    monkeypatch.chdir("/")

    run = clintune("train", path, "trainer.max_steps=2")
    clintune("train", "--resume", run)
    clintune("evaluate", run, "--bootstrap", "10", "--no-ablations")
    words = [f"cohort={quickstart}", f"out={tmp_path / 'out'}", "times=last"]
    clintune("predict", run, *words, "trusted=[tasks_beside]")
