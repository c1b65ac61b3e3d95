"""The command line as processes: exit codes, one-line errors, no torch before it is needed."""

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clintune.cli import main
from clintune.core.errors import DataError

BLOCKER = """
import sys
from clintune.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "peft", "timm", "datasets"} & sys.modules.keys()
sys.exit(f"imported {heavy}" if heavy else code)
"""


def clintune(*words, cwd=None):
    """Run clintune in a process where importing torch fails."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER, *words], capture_output=True, text=True, cwd=cwd
    )


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(
            "# Mine.\ndefaults:\n  - base\n  - cohort: [quickstart]\n  - modality: [notes]\n"
            "  - task@tasks.y: binary\n  - _self_\ntasks: {y: {label: deterioration}}\n" + text
        )
        return str(path)

    return write


@pytest.fixture
def refused(capsys):
    """Return a function that gives the one line by which this process refuses some words."""

    def say(*words):
        assert main(list(words)) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    return say


def error_of(*words):
    done = clintune(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_help_lists_every_verb_without_torch():
    done = clintune("--help")
    assert done.returncode == 0
    assert {"train", "evaluate", "recipes", "show", "cache"} <= set(done.stdout.split())


def test_the_cache_is_listed_without_torch(tmp_path):
    assert "no cache of clintune (it has no CACHEDIR.TAG)" in error_of("cache", str(tmp_path))
    (tmp_path / "CACHEDIR.TAG").touch()
    done = clintune("cache", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "last used" in done.stdout


def test_a_folder_without_runs_is_said_to_have_none(tmp_path):
    done = clintune("runs", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert "no run is there; give the folder that runs are written to" in " ".join(
        done.stderr.split()
    )


def test_recipes_are_listed_with_one_line_each():
    done = clintune("recipes")
    assert done.returncode == 0
    assert re.search(r"^quickstart +\S.+$", done.stdout, re.M)


def test_show_prints_the_composed_config(recipe):
    done = clintune("show", recipe(""), "adapter.r=16")
    assert done.returncode == 0, done.stderr
    assert "  r: 16\n" in done.stdout


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ("adapter.rr=16", "did you mean 'r'"),
        ("trainer.max_step=5", "did you mean 'max_steps'"),
        ("traner.max_steps=5", "did you mean 'trainer'"),
        ("backbone=minlm", "did you mean 'minilm'"),
        ("modalities.notes.max_piece=3", "did you mean 'max_pieces'"),
        ("trainer.max_steps=many", "trainer.max_steps"),
    ],
)
def test_a_mistyped_override_gets_the_nearest_name(recipe, refused, override, suggestion):
    assert suggestion in refused("train", recipe(""), override)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("adapter: {rr: 16}\n", "did you mean 'r'"),
        ("trainer: {epoch: 3}\n", "did you mean 'epochs'"),
        ("treiner: {epochs: 3}\n", "did you mean 'trainer'"),
        ("modalities: {notes: {max_piece: 3}}\n", "did you mean 'max_pieces'"),
        ("cohorts: {quickstart: {lookback: 3}}\n", "did you mean 'lookback_hours'"),
        (
            "modalities: {imaging: {max_pieces: 3}}\n",
            "'modalities.imaging' is tuned but not chosen",
        ),
        (
            "tasks: {y: {_target_: clintune.tasks.binary.Binery, label: y}}\n",
            "did you mean 'Binary'",
        ),
    ],
)
def test_a_wrong_key_in_a_recipe_gets_the_nearest_name(recipe, refused, text, suggestion):
    path = Path(recipe(""))
    whole = path.read_text()
    if text.startswith("tasks:"):
        whole = whole.replace("tasks: {y: {label: deterioration}}\n", "")
    path.write_text(whole + text)
    error = refused("train", str(path))
    assert suggestion in error
    assert "mine.yaml" in error


def test_every_key_that_must_be_given_is_named_at_once(recipe):
    path = Path(recipe(""))
    path.write_text(
        path.read_text()
        .replace("[quickstart]", "[meds]")
        .replace("{y: {label: deterioration}}", "{}")
    )
    error = error_of("train", str(path))
    assert "'cohorts.meds.root' must be given" in error
    assert "'tasks.y.label' must be given" in error


def test_folders_beside_a_recipe_are_not_taken_for_groups(recipe, tmp_path):
    (tmp_path / "runs").mkdir()
    done = clintune("show", recipe(""), "runs=elsewhere")
    assert done.returncode == 0, done.stderr
    assert "\nruns: elsewhere\n" in done.stdout


def test_a_mistyped_verb_or_recipe_gets_the_nearest_name(tmp_path, recipe):
    assert "did you mean 'train'" in error_of("trian", "quickstart")
    assert "did you mean 'quickstart'" in error_of("train", "quikstart")
    recipe("")
    assert "did you mean 'mine.yaml'" in error_of("train", str(tmp_path / "mien.yaml"))
    assert "no recipe.yaml there" in error_of("evaluate", str(tmp_path))


def test_an_error_nobody_foresaw_does_not_print_its_message(monkeypatch, capsys):
    from clintune import cli

    text = "def fail(arguments):\n    raise KeyError('John Doe, born 1950')\n"
    exec(compile(text, cli.__file__, "exec"), names := {})  # a frame in a file of clintune
    monkeypatch.setattr("clintune.verbs.recipes.recipes", names["fail"])
    assert cli.main(["recipes"]) == 1
    printed = capsys.readouterr().err
    assert "John Doe" not in printed
    assert f"unexpected KeyError in {cli.__file__}:2; the message is withheld" in printed


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise KeyError('John Doe')", "surprises_{}.py:4: KeyError"),
        ("Picture(len)", "surprises_{}.py:4: TypeError"),
        ("visible(Unprintable())", "surprises_{}.py:7: ValueError"),
    ],
)
def test_a_fault_in_a_module_of_the_user_names_it(tmp_path, monkeypatch, capsys, body, says):
    from clintune import cli

    name = f"surprises_{len(body)}"
    lines = [
        "from clintune.core.text import visible",
        "from clintune.report.section import Picture",
        "def run(arguments):",
        f"    {body}",
        "class Unprintable:",
        "    def __str__(self):",
        "        raise ValueError('John Doe')",
    ]
    (tmp_path / f"{name}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("clintune.verbs.recipes.recipes", importlib.import_module(name).run)
    monkeypatch.delenv("CLINTUNE_DEBUG", raising=False)

    assert cli.main(["recipes"]) == 1
    said = says.format(len(body))
    line = f"clintune: your module {said}; CLINTUNE_DEBUG=1 shows its message\n"
    assert capsys.readouterr().err == line


def test_a_fault_below_the_user_names_both_places(tmp_path, monkeypatch, capsys):
    from clintune import cli

    (tmp_path / "asks_wrongly.py").write_text(
        "from clintune.core.text import first_few\ndef run(arguments):\n    first_few(5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    asks = importlib.import_module("asks_wrongly").run
    monkeypatch.setattr("clintune.verbs.recipes.recipes", asks)

    assert cli.main(["recipes"]) == 1
    line = capsys.readouterr().err
    assert "your module asks_wrongly.py:3: TypeError in /" in line
    assert "core/text.py:" in line


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_quietly_a_full_disk_loudly(tmp_path, unbuffered):
    run = "from clintune.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / "CACHEDIR.TAG").touch()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/messages.log").write_text("done\n")
    verbs = [["--help"], ["recipes"], ["show", "quickstart"]]
    verbs += [[verb, str(tmp_path)] for verb in ("runs", "logs", "cache")]
    for words in verbs[:2] if unbuffered else verbs:
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-c", run, *words]
        done = subprocess.run(
            command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, ""), words

        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
            )
        assert done.returncode == 1
        assert re.fullmatch(r"clintune: the disk is full; free some of it, .*\n", done.stderr), (
            words
        )


def test_a_standard_output_that_is_closed_changes_nothing(tmp_path):
    (tmp_path / "recipe.yaml").touch()
    command = f"{sys.executable} -m clintune.cli runs {tmp_path} >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_of_strangers_show_themselves_in_one_line(monkeypatch, capsys):
    from clintune import cli

    def fail(arguments):
        raise DataError("task \x1b]0;owned\x07\nclintune: all is well\u202e")

    monkeypatch.setattr("clintune.verbs.recipes.recipes", fail)
    assert cli.main(["recipes"]) == 2
    printed = capsys.readouterr().err
    assert printed == "clintune: task \\x1b]0;owned\\x07\\nclintune: all is well\\u202e\n"
