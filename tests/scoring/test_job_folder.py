"""Shards cover every sample once; a folder keeps one job and goes on from anywhere."""

import pytest

from clintune.config.compose import compose_scoring
from clintune.core.errors import ConfigError, PackageError, TrainingError
from clintune.core.files import write_json
from clintune.launch.status import Status
from clintune.scoring.job_folder import cut, make_job, read_job, removed_if_refused


@pytest.mark.parametrize(("num", "size"), [(1, 5), (5, 5), (6, 5), (2001, 2000), (199_999, 2000)])
def test_shards_cover_every_sample_once_and_are_of_one_size(tmp_path, num, size):
    shards = cut(tmp_path, num, size)
    sizes = [shard.stop - shard.start for shard in shards]
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(num))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len({shard.name for shard in shards}) == len(shards)


def job(tmp_path, *overrides, package="org/name"):
    words = [
        "cohort=meds",
        f"cohorts.meds.root='{tmp_path}'",
        f"out='{tmp_path / 'out'}'",
        *overrides,
    ]
    return compose_scoring(package, words)


def test_paths_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "times.parquet").touch()
    monkeypatch.chdir(tmp_path)
    out = make_job(job(tmp_path, "times=times.parquet", package="package"))
    config = read_job(out)
    assert config.package == str(tmp_path / "package")
    assert config.times == str(tmp_path / "times.parquet")


def test_the_default_folder_is_named_by_package_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = (make_job(job(tmp_path, "out=null")) for _ in range(2))
    assert one != two
    assert one.parent.parts == ("predictions", "name")


def test_the_same_job_goes_on_and_another_is_refused(tmp_path):
    out = make_job(job(tmp_path))
    assert make_job(job(tmp_path, "cluster.processes=4")) == out
    assert read_job(out).cluster.processes == 4
    for key, word in {
        "batch_size": "batch_size=7",
        "times": "times=last",
        "cohorts": "cohorts.meds.lookback_hours=1",
    }.items():
        with pytest.raises(
            ConfigError, match=f"holds the results of a job with other `{key}`; name another folder"
        ):
            make_job(job(tmp_path, word))
    with pytest.raises(ConfigError, match="job with other `package`"):
        make_job(job(tmp_path, package="org/other"))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="holds other files; name another folder"):
        make_job(job(tmp_path))
    with pytest.raises(ConfigError, match=r"no job\.yaml there; give the folder"):
        read_job(tmp_path / "out")


def test_times_that_are_no_file_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"times: .*/nowhere is not a file; give a Parquet file, `last`, or null"
    ):
        make_job(job(tmp_path, "times=nowhere"))


def refuse(out, error):
    with pytest.raises(type(error)), removed_if_refused(out):
        raise error


def test_a_new_job_that_is_refused_leaves_nothing(tmp_path):
    out = make_job(job(tmp_path))
    refuse(out, PackageError("changed"))
    assert not out.exists()


def test_a_job_that_began_started_elsewhere_or_failed_stays(tmp_path):
    began, started, failed = (make_job(job(tmp_path, f"out='{tmp_path / name}'")) for name in "abc")
    write_json(began / "shards" / "origin.json", {})
    refuse(began, PackageError("changed"))
    Status(state="queued").write(started)
    refuse(started, PackageError("changed"))
    refuse(failed, TrainingError("process 1: killed"))
    for out in (began, started, failed):
        assert read_job(out).package == "org/name"
