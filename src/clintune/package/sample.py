"""A made-up sample and the model's answer to it: a loaded package must repeat that answer.

The sample holds pieces that `preprocess` makes of the fake items of each modality, so no patient's.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor

from clintune.contracts import Batch, PieceBatch
from clintune.core.errors import DataError, PackageError
from clintune.modalities.base import Modality, collate_pieces
from clintune.modalities.rows import AnyReader, RowReader
from clintune.package.contents import Package
from clintune.package.tensors import read_tensors

SAMPLE = "sample.safetensors"
_TOLERANCE = 1e-4
"""Greatest difference of probabilities between processors and versions of torch, in float32."""
_ITEMS = 2
_ANSWER = "answer"


def write_sample(folder: Path, package: Package) -> None:
    """Write a made-up sample and the package's answer to it."""
    batch = _made_up(package.model.encoders)
    tensors = {f"{_ANSWER}/{task}": value for task, value in _answers(package, batch).items()}
    for name, pieces in batch.pieces.items():
        tensors[f"{name}/hours"] = pieces.hours
        tensors |= {
            f"{name}/tensors/{key}": value.contiguous() for key, value in pieces.tensors.items()
        }
    save_file(tensors, folder / SAMPLE)


def repeat_answer(folder: Path, package: Package) -> None:
    """Raise PackageError unless the package repeats its answer to the stored sample."""
    tensors = read_tensors(folder / SAMPLE)
    try:
        answers = _answers(package, read_sample(tensors, package.model.encoders))
    except Exception as error:  # a stranger's tensors may be of any type, shape and number
        raise PackageError(
            f"{folder / SAMPLE}: is no sample of this model; fetch the package again"
        ) from error

    # A missing answer counts as an empty one.
    for task, answer in answers.items():
        stored = tensors.get(f"{_ANSWER}/{task}", answer.new_empty(0))
        is_alike = stored.shape == answer.shape and stored.dtype == answer.dtype
        if not is_alike or not torch.allclose(stored, answer, rtol=0, atol=_TOLERANCE):
            raise PackageError(
                f"{folder}: task {task} does not answer to {SAMPLE} as it did when it was written; "
                "use the version of clintune, torch and transformers on its card, or fetch it again"
            )


def _made_up(modalities: Mapping[str, Modality]) -> Batch:
    """Return a batch of one sample, with items of every modality that can read its own fakes."""
    parts = {}
    for name, modality in modalities.items():
        with TemporaryDirectory() as folder:
            try:
                parts[name] = _read_fakes(modality.reader, Path(folder))
            except DataError:  # a recipe may ask for what fakes lack, as a second channel
                continue
    return Batch(pieces=parts, targets={}, keys=["made up"])


def _read_fakes(reader: AnyReader, folder: Path) -> PieceBatch:
    """Return the newest pieces of a reader's own fakes, as of one sample."""
    items = reader.fake(folder, _ITEMS, 0)
    if isinstance(reader, RowReader):
        return reader.preprocess_items(items, [0] * len(items))

    pieces = [reader.preprocess(item) for item in items]
    kept = slice(-reader.max_pieces, None)
    tensors = {key: value[kept] for key, value in collate_pieces(pieces).items()}
    return _of_one(tensors, torch.cat([part.hours for part in pieces])[kept])


def read_sample(tensors: Mapping[str, Tensor], modalities: Iterable[str]) -> Batch:
    """Return the stored sample as a batch of one."""
    parts = {}
    for name in modalities:
        prefix = f"{name}/tensors/"
        own = [key for key in tensors if key.startswith(prefix)]
        found = {key.removeprefix(prefix): tensors[key] for key in own}
        if found:
            parts[name] = _of_one(found, tensors[f"{name}/hours"])
    return Batch(pieces=parts, targets={}, keys=["made up"])


def _of_one(tensors: dict[str, Tensor], hours: Tensor) -> PieceBatch:
    return PieceBatch(
        tensors=tensors, hours=hours, owner=torch.zeros(len(hours), dtype=torch.int64)
    )


def _answers(package: Package, batch: Batch) -> dict[str, Tensor]:
    """Return the predictions [1, P] of each task, computed in float32."""
    return {name: values.float().cpu() for name, values in package.predict(batch).items()}
