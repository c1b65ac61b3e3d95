"""What an output of a task is called on a card."""

from collections.abc import Sequence


def output_name(task: str, outputs: Sequence[str], i: int) -> str:
    """Return the name of output `i`: that of its task where it is the only one."""
    return task if len(outputs) == 1 else f"{task}: {outputs[i]}"
