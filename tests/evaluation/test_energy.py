import json
from types import SimpleNamespace

import pytest

from clintune.evaluation.analyses import compute
from clintune.launch.status import Status


@pytest.mark.parametrize(
    ("device", "processes", "kwh"),
    [
        ("cpu", 4, 2 * 42.5 * 2 / 1000),
        ("NVIDIA H100 80GB HBM3", 8, 2 * (2 * 42.5 + 8 * 700) / 1000),
        ("NVIDIA A100-SXM4-80GB", 1, 2 * (2 * 42.5 + 400) / 1000),
        ("Tesla T4", 1, 2 * (2 * 42.5 + 70) / 1000),
        ("NVIDIA L40S", 1, 2 * (2 * 42.5 + 350) / 1000),
        ("a device of tomorrow", 1, None),
    ],
)
def test_energy_is_power_times_hours(tmp_path, device, processes, kwh):
    (tmp_path / "provenance.json").write_text(json.dumps({"device": device}))
    Status(state="done", seconds=7200.0, processes=processes).write(tmp_path)
    config = SimpleNamespace(cluster=SimpleNamespace(nodes=2))
    found = compute.run(SimpleNamespace(run=tmp_path, config=config))
    assert found["hours"] == 2
    assert found["kwh"] == (None if kwh is None else pytest.approx(kwh))
