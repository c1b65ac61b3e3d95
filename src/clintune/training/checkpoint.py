"""Checkpoints: safetensors and JSON only, each folder whole or absent, the same for any number of processes."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clintune.core.errors import TrainingError
from clintune.core.files import atomic_path, write_json
from clintune.training.optimizer import Average, copy_into
from clintune.training.processes import is_main
from clintune.training.strategy import share_like, wholes


@dataclass
class Progress:
    """Where a fit stands. Everything else is a function of `step`: data order, draws, learning rate."""

    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    stale: int = 0
    """Scores since the best one."""
    finished: bool = False

    def __str__(self) -> str:
        best = "" if self.best_score is None else f", best tuning score {self.best_score:.4f} at step {self.best_step}"
        return f"{self.step} steps{best}"


def save(
    folder: Path, progress: Progress, parameters: Mapping[str, nn.Parameter], average: Average, optimizer: Any
) -> None:
    """Write a checkpoint as `folder/step-N`, then remove the older ones: at any moment one of them is whole.

    All processes take part, to bring their shares; the main one writes.
    """
    state = optimizer.state_dict()["state"]
    files = {
        "trainable.safetensors": wholes(parameters),
        "average.safetensors": wholes(average.values),
        "optimizer.safetensors": wholes(
            {f"{n}.{key}": torch.as_tensor(value) for n, values in state.items() for key, value in values.items()}
        ),
    }
    if not is_main():
        return
    with atomic_path(folder / f"step-{progress.step:08d}") as partial:
        partial.mkdir()
        for name, tensors in files.items():
            if tensors:
                save_file(tensors, partial / name)
        write_json(partial / "progress.json", asdict(progress))
    for older in _checkpoints(folder)[:-1]:
        shutil.rmtree(older)


def restore(folder: Path, parameters: Mapping[str, nn.Parameter], average: Average, optimizer: Any) -> Progress:
    """Load the last checkpoint in place and return its progress; a fresh progress where there is none.

    Raises TrainingError when the checkpoint holds other tensors than the model has.
    """
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        return Progress()
    last = checkpoints[-1]
    progress = _progress(last)
    load_weights(last / "trainable.safetensors", parameters)
    if average.values:
        for name, value in load_file(last / "average.safetensors").items():
            average.values[name] = share_like(value, parameters[name].detach())
    numbered = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(last / "optimizer.safetensors").items():
        number, _, name = key.partition(".")
        parameter = numbered[int(number)]
        alike = value.shape == parameter.shape and name != "step"
        state.setdefault(int(number), {})[name] = share_like(value, parameter.detach()) if alike else value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return progress


def last_step(folder: Path) -> int:
    """Return the step of the last checkpoint, 0 where there is none."""
    return max((_progress(path).step for path in _checkpoints(folder)[-1:]), default=0)


def save_best(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Write the weights as the best so far; all processes take part."""
    tensors = wholes(parameters)
    if is_main():
        with atomic_path(folder / "best.safetensors") as partial:
            save_file(tensors, partial)


def load_best(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Load the best weights in place."""
    load_weights(folder / "best.safetensors", parameters)


def load_weights(path: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Load parameters by name, in place; TrainingError when the names or shapes differ."""
    values = load_file(path)
    wrong = sorted(values.keys() ^ parameters.keys())
    wrong += [name for name in values.keys() & parameters.keys() if values[name].shape != parameters[name].shape]
    if wrong:
        raise TrainingError(
            f"{path}: does not fit the model ({len(wrong)} tensors differ, such as {wrong[0]}); resume with the recipe "
            "that wrote it, or train anew"
        )
    copy_into(parameters, {name: share_like(value, parameters[name].detach()) for name, value in values.items()})


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first; a kill may have left more than one, the last is whole."""
    return sorted(folder.glob("step-*"))


def _progress(folder: Path) -> Progress:
    return Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
