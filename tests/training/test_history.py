"""The history is read as written, or said to be damaged; a full disk is named."""

import json
import re
from pathlib import Path

import pytest

from clintune.core.console import console
from clintune.core.errors import StorageError
from clintune.experiment.folds import Fold
from clintune.launch.status import StatusWriter, resumable
from clintune.training.history import History, read_history

UNIT = Fold(folder=Path("run"))


def records(path):
    return [(record["member"], record["step"]) for record in read_history(path)]


def test_a_fit_that_goes_on_drops_its_own_later_records_alone(tmp_path):
    history = History(tmp_path / "history.jsonl", None, StatusWriter(tmp_path, shown=False), None)
    for member, step in [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]:
        history.append(UNIT, member, {"step": step, "loss": 0.5, "tuning/score": float("nan")}, 3)
    before = history.path.read_bytes()
    history.begin(UNIT, 1, 3)
    assert history.path.read_bytes() == before
    history.path.write_bytes(before + b'{"step": 4')
    history.begin(UNIT, 1, 1)
    assert records(history.path) == [(0, 1), (0, 2), (1, 1)]


def test_damaged_lines_of_a_history_are_left_out_with_a_word(tmp_path, capsys):
    path = tmp_path / "history.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in range(1, 5)]
    path.write_bytes("\n".join([*lines, lines[0][:9]]).encode())
    assert [record["step"] for record in read_history(path)] == [1, 2, 3, 4]
    assert not capsys.readouterr().err
    path.write_bytes(
        b"\n".join([lines[0].encode(), b"\xff\xfe", b"[]", b'{"stop": 3}', lines[3].encode(), b""])
    )
    assert [record["step"] for record in read_history(path)] == [1, 4]
    assert "3 of 5 lines are damaged and left out" in capsys.readouterr().err
    assert read_history(tmp_path / "none.jsonl") == []


def test_a_disk_that_takes_no_more_is_named_and_how_to_go_on(tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    history = History(tmp_path / "full", None, StatusWriter(tmp_path, shown=False), None)
    with pytest.raises(StorageError) as caught, resumable("train", "--resume", "runs/my run"):
        history.append(UNIT, 0, {"step": 1, "loss": 0.5}, 3)
    assert re.fullmatch(
        r".*/full: the disk is full; .*; then go on with `clintune train --resume 'runs/my run'`",
        str(caught.value),
    )
    with (
        console.copied_to(tmp_path / "full"),
        pytest.raises(StorageError, match="/full: the disk is full"),
    ):
        console.print("a line")


def test_a_fit_that_begins_anew_without_its_checkpoint_says_so(tmp_path, capsys):
    class Kept:
        def keep(self, part, step):
            pass

    history = History(tmp_path / "history.jsonl", None, StatusWriter(tmp_path, shown=False), Kept())
    history.begin(UNIT, 0, 0)
    assert not capsys.readouterr().err
    for step in (1, 2, 3):
        history.append(UNIT, 0, {"step": step, "loss": 0.5}, 3)
    history.begin(UNIT, 0, 2)
    assert not capsys.readouterr().err
    history.begin(UNIT, 0, 0)
    assert (
        "the run: no checkpoint is left of 2 trained steps; training begins anew"
        in capsys.readouterr().err
    )
