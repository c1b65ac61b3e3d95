"""Compute and energy of a run, by the arithmetic of codecarbon's offline mode without sensors: power times hours."""

from dataclasses import dataclass
from pathlib import Path

from clintune.core.files import read_json
from clintune.launch.status import read_status

CPU_WATTS = 85 * 0.5
"""A processor of unknown kind: codecarbon's POWER_CONSTANT times its CONSUMPTION_PERCENTAGE_CONSTANT (v3.3.1)."""
GPU_WATTS = {"H200": 700, "H100": 700, "A100": 400, "L40S": 350, "V100": 300, "L4": 72, "T4": 70}
"""Rated power of the largest board of each name, by NVIDIA's data sheets: an upper bound, where codecarbon measures."""
_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What training took: hours of wall time, and energy, which is None where the power of the device is unknown."""

    device: str
    processes: int
    nodes: int
    hours: float
    kwh: float | None


def read_compute(run: Path, nodes: int) -> Compute:
    """Return what the run folder says of the compute of training."""
    status = read_status(run)
    device = read_json(run / "provenance.json")["device"]
    hours = status.seconds / _SECONDS_AN_HOUR if status else 0.0
    processes = status.processes if status else 1
    return Compute(
        device=device,
        processes=processes,
        nodes=nodes,
        hours=hours,
        kwh=_kwh(device, hours, processes, nodes),
    )


def _kwh(device: str, hours: float, processes: int, nodes: int) -> float | None:
    """Return the energy of the processors, one a node, and of the GPUs, one a process."""
    if device == "cpu":
        return CPU_WATTS * nodes * hours / 1000
    rated = next(
        (watts for name, watts in GPU_WATTS.items() if name in device.replace("-", " ").split()),
        None,
    )
    return None if rated is None else (CPU_WATTS * nodes + rated * processes) * hours / 1000
