"""Checkpoints: safetensors and JSON only, the same for any number of processes.

A checkpoint's folder is whole or absent. `sums.json` in it holds the SHA-256 of every other file.
`best.safetensors` is replaced alone, so it holds the SHA-256 of its tensors itself. Both are
verified when they are read.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clintune.core.console import console
from clintune.core.errors import TrainingError
from clintune.core.files import atomic_path, file_sha256, write_json
from clintune.launch.processes import is_main
from clintune.training.optimizer import WeightEMA, copy_into
from clintune.training.sharding import gather_state_dict, shard_like

_WEIGHTS = "trainable.safetensors"
_AVERAGE = "average.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_PROGRESS = "progress.json"
_NEEDED = {_WEIGHTS, _OPTIMIZER, _PROGRESS}
_SUMS = "sums.json"
_BEST = "best.safetensors"
_SUM = "sha256"
"""The key of a checksum within `best.safetensors`."""


@dataclass
class Progress:
    """Where the training of a member stands.

    Everything else is a function of `step`: data order, draws, learning rate.
    """

    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    stale: int = 0
    """Scores since the best one."""
    finished: bool = False

    def __str__(self) -> str:
        if self.best_score is None:
            return f"{self.step} steps"
        best = f"best tuning score {self.best_score:.4f} at step {self.best_step}"
        return f"{self.step} steps, {best}"


def save(
    folder: Path,
    progress: Progress,
    parameters: Mapping[str, nn.Parameter],
    average: WeightEMA,
    optimizer: Any,
) -> None:
    """Write a checkpoint as `folder/step-N`, then remove all others.

    At any moment one of them is whole. All processes take part, to bring their shares; the main
    one writes.
    """
    # Gather the tensors from all processes.
    state = optimizer.state_dict()["state"]
    names = _names(parameters, optimizer)
    moments = {
        f"{key}:{names[n]}": torch.as_tensor(value)
        for n, values in state.items()
        for key, value in values.items()
    }
    files = {
        _WEIGHTS: gather_state_dict(parameters),
        _AVERAGE: gather_state_dict(average.values),
        _OPTIMIZER: gather_state_dict(moments),
    }
    if not is_main():
        return

    # Write the new checkpoint before the others go.
    written = folder / f"step-{progress.step:08d}"
    with atomic_path(written) as partial:
        partial.mkdir()
        for name, tensors in files.items():
            if tensors or name in _NEEDED:
                save_file(tensors, partial / name)
        write_json(partial / _PROGRESS, asdict(progress))
        sums = {path.name: file_sha256(path) for path in sorted(partial.iterdir())}
        write_json(partial / _SUMS, sums)

    for other in _checkpoints(folder):
        if other != written:
            shutil.rmtree(other)


def restore(
    folder: Path, parameters: Mapping[str, nn.Parameter], average: WeightEMA, optimizer: Any
) -> Progress:
    """Load the last whole checkpoint in place and return its progress.

    Where there is no checkpoint, return a fresh progress. Raises TrainingError when checkpoints are
    damaged and none is whole, or when the last holds other tensors than the model.
    """
    checkpoint = _last_whole(folder)
    if checkpoint is None:
        return Progress()
    progress = _progress(checkpoint)
    if progress.best_score is not None:
        _read_best(folder)  # damage is found now, not after the last step

    # Load the weights and their average.
    _load(checkpoint / _WEIGHTS, load_file(checkpoint / _WEIGHTS), parameters)
    if average.values:
        for name, value in load_file(checkpoint / _AVERAGE).items():
            average.values[name] = shard_like(value, parameters[name].detach())

    # Load the optimizer's state: what has the shape of its parameter is sharded as that is.
    numbers = {name: number for number, name in enumerate(_names(parameters, optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for word, value in load_file(checkpoint / _OPTIMIZER).items():
        key, _, name = word.partition(":")
        parameter = parameters[name]
        alike = value.shape == parameter.shape and key != "step"
        state.setdefault(numbers[name], {})[key] = (
            shard_like(value, parameter.detach()) if alike else value
        )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return progress


def save_best(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Write the weights as the best so far; all processes take part."""
    tensors = gather_state_dict(parameters)
    if is_main():
        with atomic_path(folder / _BEST) as partial:
            save_file(tensors, partial, metadata={_SUM: _digest(tensors)})


def load_best(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Load the best weights in place; TrainingError where they are damaged or do not fit."""
    _load(folder / _BEST, _read_best(folder), parameters)


def _load(path: Path, values: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    """Load parameters by name, in place; TrainingError when the names or shapes differ."""
    wrong = sorted(values.keys() ^ parameters.keys())
    common = values.keys() & parameters.keys()
    wrong += [name for name in common if values[name].shape != parameters[name].shape]
    if wrong:
        raise TrainingError(
            f"{path}: does not fit the model ({len(wrong)} tensors differ, such as {wrong[0]}); "
            "resume with the recipe that wrote it, or train anew"
        )

    shares = {name: shard_like(value, parameters[name].detach()) for name, value in values.items()}
    copy_into(parameters, shares)


def _last_whole(folder: Path) -> Path | None:
    """Return the last checkpoint whose files are as they were written.

    Return None where there is no checkpoint. Raises TrainingError where there are some, but none is
    whole.
    """
    damaged: list[Path] = []
    for checkpoint in reversed(_checkpoints(folder)):
        if (file := _damaged_file(checkpoint)) is None:
            if damaged:
                console.print(
                    f"{damaged[0]}: is damaged or missing; going on from {checkpoint.name}, "
                    "which is whole"
                )
            return checkpoint
        damaged.append(file)
    if damaged:
        raise _damaged(damaged[0])
    return None


def _damaged_file(checkpoint: Path) -> Path | None:
    """Return the first file of a checkpoint that is not as it was written; None where all are."""
    try:
        sums = json.loads((checkpoint / _SUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return checkpoint / _SUMS
    if not isinstance(sums, dict) or not _NEEDED <= sums.keys() <= _NEEDED | {_AVERAGE}:
        return checkpoint / _SUMS
    files = (checkpoint / name for name in sums)
    return next(
        (file for file in files if not file.is_file() or file_sha256(file) != sums[file.name]), None
    )


def _read_best(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the best weights, which carry their own checksum."""
    path = folder / _BEST
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get(_SUM)
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path) from error
    if written != _digest(tensors):
        raise _damaged(path)
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and values."""
    digest = sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path) -> TrainingError:
    return TrainingError(
        f"{path}: is damaged or missing: it is not as it was written; restore the run folder from "
        "a copy, or train anew"
    )


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first; a kill may have left more than one."""
    return sorted(folder.glob("step-*"))


def _names(parameters: Mapping[str, nn.Parameter], optimizer: Any) -> list[str]:
    """Return the names of the optimizer's parameters, in the order in which it numbers them."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    return [
        names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]
    ]


def _progress(folder: Path) -> Progress:
    return Progress(**json.loads((folder / _PROGRESS).read_text(encoding="utf-8")))
