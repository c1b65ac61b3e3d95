"""What `clintune runs`, `clintune logs` and a sweep print."""

import pytest

from clintune.core.errors import ConfigError
from clintune.experiment.logs import print_logs
from clintune.experiment.run_list import list_runs, print_sweep
from clintune.launch.status import Status

RECIPE = "name: x\nruns: {runs}\nadapter: {{r: {r}, alpha: 16}}\ntrainer: {{lr: {lr}}}\n"


@pytest.fixture
def sweep(tmp_path):
    """Return two runs that differ in a setting; the second failed after a change of clock."""
    folders = []
    for number, r in enumerate((2, 4)):
        run = tmp_path / "x" / f"2026010{number + 1}-120000"
        run.mkdir(parents=True)
        (run / "recipe.yaml").write_text(RECIPE.format(runs=number, r=r, lr=0.1))
        folders.append(run)
    Status(state="done", started=1000.0, updated=1060.0, host="h").write(folders[0])
    Status(state="failed", started=200_000.0, updated=100.0, host="h", error="e" * 400).write(
        folders[1]
    )
    return folders


def test_the_table_says_what_tells_runs_of_a_sweep_apart(tmp_path, sweep, capsys):
    list_runs(tmp_path)
    header, first, second, error = capsys.readouterr().out.splitlines()
    assert header.split()[-2:] == ["differs", "in"]
    assert first.split()[-1] == "adapter.r=2"
    assert second.split()[-1] == "adapter.r=4"
    assert "0:01:00" in first
    assert "0:00:00" in second, "no time is negative, whatever the clock did"
    assert error == f"{sweep[1]}: {'e' * 400}"
    assert max(len(line.rstrip()) for line in (header, first, second)) < 200


def test_many_differences_are_counted_broken_recipes_or_not(tmp_path, sweep, capsys):
    (sweep[1] / "recipe.yaml").write_text("a: 1\nb: 2\nc: 3\nd: [")
    list_runs(tmp_path)
    assert "adapter.alpha=16 adapter.r=2 trainer.lr=0.1" in capsys.readouterr().out
    (sweep[1] / "recipe.yaml").write_text("a: 1\nb: 2\nc: 3\n")
    list_runs(tmp_path)
    assert "a=1 adapter.alpha=None adapter.r=None and 3 more" in capsys.readouterr().out


@pytest.mark.parametrize(("order", "first"), [("best", 1), ("duration", 2), (None, 0)])
def test_runs_are_sorted_with_the_greatest_first(tmp_path, capsys, order, first):
    durations, scores = (5.0, 10.0, 900.0), (None, -0.25, -0.5)
    runs = [tmp_path / f"2026010{number}-120000" for number in range(3)]
    for run, seconds, best in zip(runs, durations, scores, strict=True):
        run.mkdir()
        (run / "recipe.yaml").write_text("a: 1\n")
        Status(state="done", started=0.0, updated=seconds, best=best).write(run)
    list_runs(tmp_path, order)
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names[0] == str(runs[first])
    assert set(names) == set(map(str, runs))


def test_a_sweep_shows_settings_and_scores(sweep, capsys):
    Status(state="done", best=0.7654).write(sweep[0])
    print_sweep({sweep[0]: "adapter.r=2 seed=1", sweep[1]: "adapter.r=4 seed=1"})
    _, first, second = capsys.readouterr().err.splitlines()
    assert "0.7654" in first
    assert first.endswith("adapter.r=2 seed=1")
    assert "failed" in second


def test_empty_logs_are_no_error_and_all_logs_are_printed(sweep, capsys):
    run = sweep[0]
    print_logs(run)
    assert "done; nothing is written in logs/ yet" in capsys.readouterr().err
    (run / "logs" / "deep").mkdir(parents=True)
    (run / "logs" / "messages.log").touch()
    print_logs(run)
    assert "nothing is written" in capsys.readouterr().err
    (run / "logs" / "messages.log").write_text("step 1\n")
    (run / "logs" / "deep" / "1.log").write_text("of process 1\n")
    print_logs(run)
    printed = capsys.readouterr().out
    assert "step 1\n" in printed
    assert "of process 1\n" in printed


def test_what_is_no_run_has_no_logs(tmp_path):
    with pytest.raises(ConfigError, match="no run there; give the folder"):
        print_logs(tmp_path)
