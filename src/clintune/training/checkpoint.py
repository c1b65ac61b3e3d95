"""Checkpoints: safetensors and JSON only, each folder whole or absent."""

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
    """Write a checkpoint as `folder/step-N`, then remove the older ones: at any moment one of them is whole."""
    with atomic_path(folder / f"step-{progress.step:08d}") as partial:
        partial.mkdir()
        save_weights(partial / "trainable.safetensors", parameters)
        if average.values:
            save_file(average.values, partial / "average.safetensors")
        state = optimizer.state_dict()["state"]
        tensors = {f"{number}.{key}": value for number, values in state.items() for key, value in values.items()}
        save_file(
            {key: torch.as_tensor(value).contiguous() for key, value in tensors.items()},
            partial / "optimizer.safetensors",
        )
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
        average.values = load_file(last / "average.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(last / "optimizer.safetensors").items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return progress


def last_step(folder: Path) -> int:
    """Return the step of the last checkpoint, 0 where there is none."""
    return max((_progress(path).step for path in _checkpoints(folder)[-1:]), default=0)


def save_best(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Write the weights as the best so far."""
    with atomic_path(folder / "best.safetensors") as partial:
        save_weights(partial, parameters)


def load_best(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Load the best weights in place."""
    load_weights(folder / "best.safetensors", parameters)


def save_weights(path: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Write parameters by name."""
    save_file({name: parameter.detach().cpu().contiguous() for name, parameter in parameters.items()}, path)


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
    copy_into(parameters, values)


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first; a kill may have left more than one, the last is whole."""
    return sorted(folder.glob("step-*"))


def _progress(folder: Path) -> Progress:
    return Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
