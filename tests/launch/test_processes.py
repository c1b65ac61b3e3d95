"""Several processes train, stop, resume and evaluate what one does.

They do so under each launcher, with the model copied or sharded.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from clintune.cli import main
from clintune.experiment.resume import trained_steps
from conftest import evaluate, run_python, train
from helpers.troubled import ODD, TROUBLE, apart

TORCHRUN = [
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "clintune.cli",
]
WORDS = ["trainer.micro_batch_size=2", "trainer.max_steps=4", "trainer.average=0.5"]


def clintune(*words, launcher=("-m", "clintune.cli"), first=None):
    """Run clintune in its own processes, which import first what is in the folder `first`."""
    return run_python(*launcher, *map(str, words), first=first)


@pytest.fixture
def trouble(tmp_path):
    """Return a function that makes a folder with a `sitecustomize`.

    It brings trouble to processes where `when` is true.
    """

    def write(what, when='os.environ.get("RANK") == "1"'):
        folder = tmp_path / "trouble"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(TROUBLE.format(what=what, when=when))
        return folder

    return write


@pytest.fixture
def ragged(recipe, cohort):
    """Return a recipe with two tasks whose labels are missing in turn."""
    labels = cohort / "labels" / "deterioration.parquet"
    table = pl.read_parquet(labels)
    missing = pl.when(pl.int_range(pl.len()) % 3 != 0).then("boolean_value")
    table.with_columns(boolean_value=missing).write_parquet(labels)
    other = pl.when(pl.int_range(pl.len()) % 3 != 1).then(~pl.col("boolean_value"))
    table.with_columns(boolean_value=other).write_parquet(labels.with_name("other.parquet"))
    path = recipe(cohort)
    path.write_text(
        path.read_text()
        .replace(
            "  - task@tasks.outcome: binary\n",
            "  - task@tasks.outcome: binary\n  - task@tasks.other: binary\n",
        )
        .replace(
            "{label: deterioration}", "{label: deterioration}, other: {label: other, weight: 0.5}"
        )
    )
    return path


@pytest.mark.parametrize(
    ("strategy", "precision"),
    [("ddp", "bf16"), pytest.param("fsdp2", "fp32", marks=pytest.mark.slow)],
)
def test_two_processes_give_the_numbers_of_one(ragged, tmp_path, strategy, precision):
    computed = f"trainer.precision={precision}"
    alone = train(ragged, *WORDS, computed)
    words = [*WORDS, computed, f"runs={tmp_path / 'two'}", f"strategy={strategy}"]
    if strategy == "ddp":  # by hand
        done = clintune("train", ragged, *words, launcher=TORCHRUN)
    else:
        words.append("strategy.activation_checkpointing=true")
        done = clintune("train", ragged, *words, "cluster.processes=2")
    assert done.returncode == 0, done.stderr[-3000:]
    together = Path(done.stdout.splitlines()[-1])
    for one, two in zip(history(alone), history(together), strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    assert apart(alone, together) < 1e-5


@pytest.mark.slow
def test_two_processes_evaluate_as_one(ragged):
    run = train(ragged, *WORDS)
    assert clintune("evaluate", run, "--bootstrap", "10", "--processes", "2").returncode == 0
    two = numbers(run)
    evaluate(run)
    assert two == pytest.approx(numbers(run), abs=1e-6)


@pytest.mark.slow
def test_what_two_processes_share_goes_on_in_one(recipe, tmp_path, trouble):
    words = [
        "adapter.dropout=0",
        "model.modality_dropout=0",
        "trainer.micro_batch_size=2",
        "trainer.max_steps=5",
        "trainer.average=0.5",
    ]
    never_stopped = train(recipe(), *words)
    launch = ["strategy=fsdp2", "cluster.processes=2", f"runs={tmp_path / 'two'}"]
    done = clintune(
        "train", recipe(), *words, *launch, first=trouble("os.kill(os.getpid(), signal.SIGUSR1)")
    )
    assert done.returncode == 128 + signal.SIGUSR1, done.stderr[-3000:]

    (run,) = (tmp_path / "two" / "recipe").iterdir()
    assert f"stopped by SIGUSR1; go on with `clintune train --resume {run}`" in done.stderr
    assert trained_steps(run) == 3
    assert json.loads((run / "status.json").read_text())["state"] == "preempted"
    assert main(["train", "--resume", str(run), "cluster.processes=1"]) == 0
    assert apart(never_stopped, run) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "says", "state"),
    [
        (ODD, "notes: row 7 is odd; mend it", "failed"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "process 1: was killed by signal 9; go on with `clintune train --resume ",
            "preempted",
        ),
    ],
)
def test_a_process_that_fails_ends_all_with_its_own_line(
    recipe, tmp_path, trouble, what, says, state
):
    done = clintune(
        "train", recipe(), "cluster.processes=2", "trainer.checkpoint_every=1", first=trouble(what)
    )
    assert done.returncode in {1, 2}

    lines = [line for line in done.stderr.splitlines() if line.startswith("clintune:")]
    assert len(lines) == 1
    assert lines[0].startswith(f"clintune: {says}")

    (run,) = (tmp_path / "runs" / "recipe").iterdir()
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == state
    assert state == "preempted" or says in status["error"]
    assert trained_steps(run) == 2
    assert not [
        line
        for line in subprocess.run(["ps", "ax"], capture_output=True, text=True).stdout.splitlines()
        if str(run) in line
    ]


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_a_signal_ends_a_single_process_with_its_work_saved(recipe, tmp_path, trouble, name):
    done = clintune(
        "train", recipe(), first=trouble(f"os.kill(os.getpid(), signal.{name})", when="True")
    )
    assert done.returncode == 128 + signal.Signals[name], done.stderr[-3000:]
    (run,) = (tmp_path / "runs" / "recipe").iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "preempted"
    assert (
        f"stopped by {name} after step 3; go on with `clintune train --resume {run}`" in done.stderr
    )
    assert trained_steps(run) == 3
    assert main(["train", "--resume", str(run)]) == 0
    assert apart(train(recipe(), f"runs={tmp_path / 'whole'}"), run) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["strategy=fsdp2", "backbone.quantize=4bit"], "cannot shard 4-bit weights"),
        (["strategy.cpu_offload=true"], "strategy=fsdp2 only"),
        (["trainer.precision=fp16"], "needs a GPU"),
        (["strategy=fsdp2", "trainer.precision=fp16"], "no loss scaling"),
        (["strategy=fsdp2", "strategy.cpu_offload=true"], "needs a GPU, and several processes"),
        (["cluster.nodes=2", "cluster.processes=2"], "this machine"),
        (["cluster.gpus_per_node=99"], "'cluster.gpus_per_node' is 99, but this machine has "),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(recipe, capsys, words, says):
    assert main(["train", str(recipe()), *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_reaches_the_processes_once_and_saves_work(recipe, tmp_path):
    """A terminal sends it to all of them, and the launcher passes its own on."""
    words = [
        "trainer.max_steps=4000",
        "trainer.checkpoint_every=1000",
        "trainer.micro_batch_size=2",
    ]
    command = [
        sys.executable,
        "-m",
        "clintune.cli",
        "train",
        recipe(),
        *words,
        "cluster.processes=2",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        while started.poll() is None and not list(
            (tmp_path / "runs").glob("recipe/*/history.jsonl")
        ):
            time.sleep(0.2)
        os.killpg(started.pid, signal.SIGINT)
        _, said = started.communicate()
    assert started.returncode == 128 + signal.SIGINT, said[-3000:]

    (run,) = (tmp_path / "runs" / "recipe").iterdir()
    assert f"stopped by SIGINT; go on with `clintune train --resume {run}`" in said
    assert "Traceback" not in said
    assert trained_steps(run) == json.loads((run / "status.json").read_text())["step"] > 0


@pytest.mark.slow
def test_processes_of_different_precisions_are_refused(recipe, tmp_path):
    one_has_bf16 = (
        "import torch; torch.cpu.get_capabilities = lambda: "
        "{'avx512_bf16': os.environ['RANK'] == '1'}"
    )
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nif 'RANK' in os.environ:\n    {one_has_bf16}\n"
    )
    done = clintune("train", recipe(), "trainer.precision=auto", launcher=TORCHRUN, first=tmp_path)
    assert done.returncode == 1
    assert "compute in bf16 and fp32; set trainer.precision" in done.stderr


def history(run):
    lines = (run / "history.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if value is not None}
        for line in lines
    ]


def numbers(run):
    """Return the metrics of a run, flat."""
    metrics = json.loads((run / "metrics.json").read_text())
    return {
        f"{split}/{task}/{name}": score["value"]
        for split in ("tuning", "held_out")
        for task, scores in metrics[split].items()
        for name, score in scores.items()
        if score["value"] is not None
    }
