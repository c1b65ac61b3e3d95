"""What a run says of itself while it runs."""

import shutil
from signal import SIGTERM

import pytest

from clintune.core.errors import DataError, StoppedError
from clintune.launch.status import Status, read_status, reported


def test_seconds_are_summed_over_starts_without_the_pauses(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("clintune.launch.status.time.monotonic", lambda: clock[0])

    def run(seconds):
        with reported(tmp_path, shown=True) as report:
            clock[0] += seconds
            report.update(part="fold 1")
            raise StoppedError(SIGTERM)

    with pytest.raises(StoppedError):
        run(30)
    assert read_status(tmp_path).seconds == 30
    clock[0] += 5000
    monkeypatch.setenv("WORLD_SIZE", "2")
    with reported(tmp_path, shown=True):
        clock[0] += 12
    status = read_status(tmp_path)
    assert (status.state, status.seconds, status.processes) == ("done", 42, 2)


def test_the_status_of_an_older_version_is_read(tmp_path):
    (tmp_path / "status.json").write_text('{"state": "done", "started": 1.0, "updated": 2.0}')
    assert read_status(tmp_path) == Status(state="done", started=1.0, updated=2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\udce4",
        '{"state": 3}',
        '{"state": "runnimg"}',
        '{"state": "done", "seconds": "7"}',
        '{"sttae": ""}',
    ],
)
def test_a_damaged_status_is_none_and_is_replaced(tmp_path, text):
    (tmp_path / "status.json").write_bytes(text.encode(errors="surrogateescape"))
    assert read_status(tmp_path) is None
    with reported(tmp_path, shown=True):
        pass
    assert read_status(tmp_path).state == "done"


def test_a_status_that_cannot_be_written_hides_no_error(tmp_path):
    run = tmp_path / "run"
    run.mkdir()

    def fail():
        with reported(run, shown=True):
            shutil.rmtree(run)
            run.touch()  # no folder, so nothing can be written there
            raise DataError("row 7")

    with pytest.raises(DataError, match="row 7"):
        fail()
