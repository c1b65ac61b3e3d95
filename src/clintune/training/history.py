"""The history of a run: one JSON line a step, true again after a resume."""

import json
import math
from pathlib import Path
from typing import Any

from clintune.core.console import console
from clintune.core.files import storing, write_text
from clintune.experiment.folds import Fold
from clintune.experiment.resume import Resumption
from clintune.launch.status import StatusWriter
from clintune.training.tracking import Tracker


class History:
    """Appends records to `history.jsonl`, and passes them to the tracker and the status."""

    def __init__(
        self,
        path: Path,
        tracker: Tracker | None,
        report: StatusWriter,
        resumption: Resumption | None,
    ) -> None:
        """Take the `resumption` of a run that goes on."""
        self.path = path
        self.tracker = tracker
        self.report = report
        self.resumption = resumption

    def begin(self, fold: Fold, member: int, step: int) -> None:
        """Note that a member goes on from `step`, and drop later records, which are made anew."""
        if self.resumption is not None:
            self.resumption.keep(part_of(fold, member), step)
        if not self.path.exists():
            return

        mine = _member_key(fold, member).items()
        records = read_history(self.path)
        kept = [r for r in records if not mine <= r.items() or r["step"] <= step]
        trained = max((r["step"] for r in records if mine <= r.items()), default=0)
        if self.resumption is not None and step == 0 < trained:
            part = part_of(fold, member) or "the run"
            console.print(
                f"{part}: no checkpoint is left of {trained} trained steps; training begins anew"
            )

        text = "".join(json.dumps(record) + "\n" for record in kept)
        if text.encode() != self.path.read_bytes():
            write_text(self.path, text)

    def append(self, fold: Fold, member: int, record: dict[str, Any], num_steps: int) -> None:
        """Append one step's record, of `num_steps`; a metric that is undefined is null."""
        defined = {
            key: None if isinstance(v, float) and math.isnan(v) else v for key, v in record.items()
        }
        line = {**_member_key(fold, member), **defined}
        with storing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

        # Write to the status how far the member is.
        scores = [self.report.status.best, defined.get("tuning/score")]
        best = max((score for score in scores if score is not None), default=None)
        self.report.update(
            part=part_of(fold, member), step=record["step"], num_steps=num_steps, best=best
        )

        # Send the numbers to the tracker, each member under a prefix of its own.
        if self.tracker is not None:
            prefix = "" if fold.number is None else f"{fold.repeat}-{fold.number}/"
            prefix += f"member-{member}/" if member else ""
            known = {key: v for key, v in defined.items() if key != "step" and v is not None}
            numbers = {prefix + key: float(v) for key, v in known.items()}
            with storing(self.path.parent):
                self.tracker.log(int(record["step"]), numbers)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the records of a history; damaged lines are left out, with a word.

    Of a damaged last line nothing is said: it was being written when the run was killed.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    records, damaged = [], 0
    for line in lines:
        record = _parse(line)
        if record is not None:
            records.append(record)
        elif line.endswith(b"\n"):
            damaged += 1
    if damaged:
        console.print(
            f"{path}: {damaged} of {len(lines)} lines are damaged and left out; "
            "curves lack these steps"
        )
    return records


def part_of(fold: Fold, member: int) -> str:
    """Return the name of a member for people; in a run of one model it is empty."""
    return " ".join(filter(None, [fold.label, f"member {member}" if member else ""]))


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record that a line holds; None where it is none."""
    try:
        record = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def _member_key(fold: Fold, member: int) -> dict[str, int | None]:
    return {"repeat": fold.repeat, "fold": fold.number, "member": member}
