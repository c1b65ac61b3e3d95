"""The history of a run: one JSON line a step, true again after a resume."""

import json
import math
from pathlib import Path
from typing import Any

from clintune.core.files import write_text
from clintune.training.partition import Unit
from clintune.training.status import Report
from clintune.training.tracking import Tracker


class History:
    """Appends records to `history.jsonl`; hands their numbers to the tracker, and how far they are to the status."""

    def __init__(self, path: Path, tracker: Tracker | None, report: Report) -> None:
        self.path = path
        self.tracker = tracker
        self.report = report

    def rewind(self, unit: Unit, member: int, step: int) -> None:
        """Drop the records of a fit after `step`: they are about to be made again."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = []
        for line in lines:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that was being written when the run was killed
            if not _place(unit, member).items() <= record.items() or record["step"] <= step:
                kept.append(line if line.endswith("\n") else line + "\n")
        if kept != lines:
            write_text(self.path, "".join(kept))

    def append(self, unit: Unit, member: int, record: dict[str, Any], num_steps: int) -> None:
        """Append one step's record, of `num_steps`; a metric that is undefined is null."""
        defined = {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in record.items()}
        line = {**_place(unit, member), **defined}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        best = max(filter(None, [self.report.status.best, defined.get("tuning/score")]), default=None)
        part = " ".join(filter(None, [unit.label, f"member {member}" if member else ""]))
        self.report.update(part=part, step=record["step"], num_steps=num_steps, best=best)
        if self.tracker is not None:
            prefix = "" if unit.fold is None else f"{unit.repeat}-{unit.fold}/"
            prefix += f"member-{member}/" if member else ""
            numbers = {prefix + key: float(v) for key, v in defined.items() if key != "step" and v is not None}
            self.tracker.log(int(record["step"]), numbers)


def _place(unit: Unit, member: int) -> dict[str, int | None]:
    return {"repeat": unit.repeat, "fold": unit.fold, "member": member}
