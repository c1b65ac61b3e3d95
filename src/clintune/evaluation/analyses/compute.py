"""Compute and energy of training: rated power times hours, an estimate that calls itself one.

codecarbon is not used: its sum does not tell what sensors measured from what it guessed.
"""

from collections.abc import Mapping
from typing import Any

from clintune.core.files import read_json
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page
from clintune.launch.status import read_status
from clintune.report.section import Section, Text
from clintune.report.table import Number

ON_CARD = True
CPU_WATTS = 85 * 0.5
"""Of an unknown processor: codecarbon's power times its share of consumption (v3.3.1)."""
GPU_WATTS = {"H200": 700, "H100": 700, "A100": 400, "L40S": 350, "V100": 300, "L4": 72, "T4": 70}
"""Rated power of the largest board of each name, by NVIDIA's data sheets: an upper bound."""
_SECONDS_AN_HOUR = 3600


def run(context: Context) -> dict[str, Any]:
    """Return hours of wall time, and energy, None for a device of unknown power."""
    status = read_status(context.run)
    device = read_json(context.run / "provenance.json")["device"]
    hours = status.seconds / _SECONDS_AN_HOUR if status else 0.0
    processes = status.processes if status else 1
    nodes = context.config.cluster.nodes
    return {
        "device": device,
        "processes": processes,
        "nodes": nodes,
        "hours": hours,
        "kwh": _kwh(device, hours, processes, nodes),
    }


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return it in words."""
    processes, nodes = result["processes"], result["nodes"]
    trained = (
        f"Trained for {Number(result['hours'], None)} hours in {processes} "
        f"{'process' if processes == 1 else 'processes'} on {nodes} "
        f"{'node' if nodes == 1 else 'nodes'}, device {result['device']}."
    )
    energy = "Energy: open, the power of this device is not known."
    if result["kwh"] is not None:
        kwh = Number(result["kwh"], None)
        energy = f"Energy: about {kwh} kWh, estimated as rated power times hours."
    return Section("Compute and energy", [Text(f"{trained} {energy}")])


def _kwh(device: str, hours: float, processes: int, nodes: int) -> float | None:
    """Return the energy of the processors, one a node, and of the GPUs, one a process."""
    if device == "cpu":
        return CPU_WATTS * nodes * hours / 1000
    rated = next(
        (watts for name, watts in GPU_WATTS.items() if name in device.replace("-", " ").split()),
        None,
    )
    return None if rated is None else (CPU_WATTS * nodes + rated * processes) * hours / 1000
