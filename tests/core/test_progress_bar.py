"""What a job in a log or a pipe says of how far it is."""

import pytest

from clintune.core.console import console
from clintune.core.progress_bar import Lines, counted, progress_bar


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, in seconds."""
    now = [0.0]
    monkeypatch.setattr("clintune.core.progress_bar.time.monotonic", lambda: now[0])
    return now


def test_a_line_where_it_is_asked_for_and_every_half_minute(clock):
    lines, said = Lines("fold 1", 100, "samples", 8), []
    for step in range(101):
        said.append(lines.after(step, "loss 0.5", 2.0 * step, step == 10))
    places = [step for step, line in enumerate(said) if line]
    assert places == [10, 25, 40, 55, 70, 85, 100]
    assert said[10] == "fold 1: 10 of 100, loss 0.5, 4 samples/s, 0:03:00 left"
    assert said[100] == "fold 1: 100 of 100, loss 0.5, 4 samples/s, 0:00:00 left"


def test_the_speed_is_that_of_this_process(clock):
    lines = Lines("score", 1000, "samples", 1)
    assert lines.after(600, "", 31.0, False) == "score: 600 of 1000"
    assert lines.after(700, "", 131.0, False) == "score: 700 of 1000, 1 samples/s, 0:05:00 left"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_log_has_the_lines_with_or_without_a_bar(tmp_path, capsys, monkeypatch, is_terminal):
    monkeypatch.setattr(console, "_force_terminal", is_terminal)
    with console.copied_to(tmp_path / "messages.log"), progress_bar("[b]", 4, "samples") as advance:
        advance(1, "loss 0.500", tell=True)
    assert (tmp_path / "messages.log").read_text().startswith("[b]: 1 of 4, loss 0.500")
    assert ("[b]: 1 of 4, loss 0.500\n" in capsys.readouterr().err) is not is_terminal


def test_short_work_leaves_no_trace_in_a_pipe(capsys):
    assert list(counted("abc", "prepare notes", 3, "items")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_long_preparations_say_how_far_they_are(capsys, clock):
    for _ in counted("abc", "prepare notes", 3, "items"):
        clock[0] += 20
    assert capsys.readouterr().err == "prepare notes: 2 of 3, 0.05 items/s, 0:00:20 left\n"
