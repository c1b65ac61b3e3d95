"""A job with a stranger's words: refused before a write, and no answer lost for its name."""

import json
import shutil

import pytest

from clintune.cli import main
from clintune.package.manifest import write_manifest
from helpers.scored_cohorts import score


@pytest.mark.parametrize("limits", [[], {}, {"sentences": [], "lacking": {"notes": "x"}}], ids=str)
def test_hostile_limits_are_refused_before_anything_is_written(
    shared_run, quickstart, tmp_path, capsys, limits
):
    package = shutil.copytree(shared_run() / "package", tmp_path / "package")
    (package / "limits.json").write_text(json.dumps(limits))
    write_manifest(package)
    assert score(package, quickstart, tmp_path / "out") == 2
    assert "limits.json: is not what clintune writes there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_swept_at_the_end_but_what_was_being_written(shared_run, quickstart, tmp_path):
    out = tmp_path / "out"
    assert score(shared_run(), quickstart, out) == 0
    kept, left = (
        out / "predictions" / "outcome" / ".hidden",
        out / "predictions" / ".outcome.abc.partial",
    )
    for folder in (kept, left):
        folder.mkdir()
        (folder / "000000.parquet").touch()
    (out / "summary.json").unlink()
    assert main(["predict", "--resume", str(out)]) == 0
    assert (kept / "000000.parquet").exists()
    assert not left.exists()
