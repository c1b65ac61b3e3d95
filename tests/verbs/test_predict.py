"""The verb: wrong words fail at once and without torch; a folder may stand for a cohort's name."""

import pytest

from clintune.cli import main
from clintune.scoring.job_folder import read_job
from conftest import run_python


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say what to score: add cohort=NAME or cohort=PATH/TO/FOLDER"),
        (["cohort=quikstart"], "'quikstart' is not a choice of cohort; did you mean 'quickstart'?"),
        (
            ["cohort=quickstart", "shard_sise=3"],
            "key 'shard_sise' does not exist; did you mean 'shard_size'?",
        ),
        (["cohort=quickstart", "cluster.node=3"], "did you mean 'nodes'?"),
        (["cohort=quickstart", "shard_size=0"], "'shard_size' is 0; give 1 or more"),
        (
            ["cohort=quickstart", "precision=fp8"],
            "'precision' fp8 does not exist; use null, fp32, bf16 or fp16",
        ),
        (["cohort=quickstart", "cluster.nodes=2"], "cluster=local is this machine alone"),
        (["cohort=[quickstart,covid_cxr]"], "'cohorts' is more than one; score them one by one"),
        (
            ["cohort=quickstart", "times=nowhere"],
            "nowhere is not a file; give a Parquet file, `last`, or null",
        ),
        (["--resume"], "no job.yaml there; give the folder that `clintune predict` printed"),
        (
            ["--resume", "shard_size=3"],
            "takes no KEY=VALUE; for another `cluster`, give the first command again",
        ),
    ],
)
def test_wrong_words_are_refused_in_one_line(capsys, words, says):
    assert main(["predict", "org/name", *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def run_without_torch(*words):
    """Run clintune in a process that ends with 3 where it has imported torch."""
    code = f"import sys; from clintune.cli import main; code = main({list(words)!r})"
    return run_python("-c", f"{code}; sys.exit(3 if 'torch' in sys.modules else code)")


def test_wrong_words_are_refused_before_torch_is_imported():
    done = run_without_torch("predict", "org/name", "cohort=quickstart", "ot=x")
    assert done.returncode == 2, done.stderr


def test_a_folder_of_any_name_can_be_scored_and_finished(tmp_path, monkeypatch):
    out, folder = tmp_path / "out", tmp_path / "it's a ward, isn't it"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "0.parquet").touch()
    words = ["predict", str(tmp_path / "nowhere"), f"cohort={folder}/", f"out={out}"]
    with monkeypatch.context() as unstarted:
        unstarted.setattr("clintune.verbs.predict.start_job", lambda *_, **__: None)
        assert main(words) == 0
    assert read_job(out).cohorts["meds"].root == str(folder)
    (out / "summary.json").touch()
    for again in (words, ["predict", "--resume", str(out)]):
        done = run_without_torch(*again)
        assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
        assert done.stderr == f"{out} is finished; nothing is left to do\n"
