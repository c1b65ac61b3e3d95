"""What a job in a log or a pipe says of how far it is."""

import pytest

from clintune.core.console import console
from clintune.training.bar import Lines, step_bar


def test_a_line_at_each_score_and_every_half_minute(monkeypatch):
    monkeypatch.setattr("clintune.training.bar.time.monotonic", lambda: 0.0)
    lines, said = Lines("fold 1", 100, 8), []
    for step in range(1, 101):
        record = {"loss": 0.5} | ({"tuning/score": 0.75} if step == 10 else {})
        said.append(lines.after(step, record, 2.0 * step))
    places = [step for step, line in enumerate(said, start=1) if line]
    assert places == [10, 25, 40, 55, 70, 85, 100]
    assert said[9] == "fold 1: step 10 of 100, loss 0.500, tuning score 0.7500, 4 samples/s, 0:03:00 left"
    assert said[99] == "fold 1: step 100 of 100, loss 0.500, 4 samples/s, 0:00:00 left"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_log_has_the_lines_and_standard_error_too_where_there_is_no_bar(tmp_path, capsys, monkeypatch, is_terminal):
    monkeypatch.setattr(console, "_force_terminal", is_terminal)
    with console.copied_to(tmp_path / "messages.log"), step_bar("[b]", 4, 8, shown=True) as watch:
        watch(1, {"loss": 0.5, "tuning/score": 0.75})
    assert "[b]: step 1 of 4, loss 0.500" in (tmp_path / "messages.log").read_text()
    assert ("step 1 of 4" in capsys.readouterr().err) is not is_terminal
