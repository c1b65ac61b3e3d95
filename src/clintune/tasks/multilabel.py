"""Many yes-or-no outcomes of one sample, such as phenotypes, each known or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from meds.schema import LabelSchema
from torch import Tensor

from clintune.cohort.labels import SAMPLE, label_files, label_paths, label_values, read_label_files
from clintune.core.errors import DataError
from clintune.core.paths import check_name
from clintune.metrics import classification
from clintune.tasks.base import Float32s, Task, the_list
from clintune.tasks.binary import Binary
from clintune.tasks.linear import LinearModel, YesNo
from clintune.tasks.losses import known_cross_entropy, log_losses
from clintune.tasks.questions import Question, yes_or_no

VALUE = LabelSchema.boolean_value_name


class Multilabel(Task):
    """Many yes-or-no outcomes: predict one logit for each phenotype.

    The files `labels/<label>/<phenotype>.parquet` hold their `boolean_value`. The phenotypes are
    `phenotypes`, or the files of the first cohort that is read. A sample that the file of a
    phenotype lacks is unknown there; so are all samples of a cohort without that file.
    """

    label_columns = (VALUE,)
    metrics = (
        classification.macro_auroc,
        classification.macro_auprc,
        classification.micro_auroc,
        classification.micro_auprc,
        classification.macro_brier,
        classification.macro_ece,
    )
    """Means over the phenotypes; `_micro` takes all pairs of sample and phenotype together."""

    def __init__(
        self, *, label: str, weight: float = 1.0, phenotypes: list[str] | None = None
    ) -> None:
        super().__init__(label=label, weight=weight)
        self._names = None if phenotypes is None else list(phenotypes)

    @property
    def output_names(self) -> list[str]:
        """Return the phenotypes."""
        assert self._names is not None, (
            "phenotypes are known once a cohort is read or the state is loaded"
        )
        return self._names

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read and join the files in `labels/<label>/`.

        Raises DataError for a file that names no phenotype of this task, and for one file in place
        of the folder.
        """
        files = self._files(root)
        if not files:
            return None
        self._names = sorted(files) if self._names is None else self._names
        for name in sorted(set(files) - set(self._names)):
            raise DataError(
                f"{files[name]}: not among the task's phenotypes; "
                "name it in `phenotypes` or move the file"
            )

        # Read one table for each phenotype, and join them by sample.
        read = read_label_files(root, list(files.values()))
        tables = [
            label_values(table, file, {VALUE: pl.Boolean}).with_columns(phenotype=pl.lit(name))
            for (name, file), table in zip(files.items(), read, strict=True)
        ]
        long = pl.concat(tables).with_columns(pl.col(VALUE).cast(pl.Float32))
        wide = long.pivot("phenotype", index=SAMPLE)

        # A phenotype without a file is unknown.
        values = [
            pl.col(name) if name in files else pl.lit(None, pl.Float32) for name in self._names
        ]
        target = pl.concat_list([value.fill_null(float("nan")) for value in values])
        return wide.select(*SAMPLE, target=target)

    def _files(self, root: Path) -> dict[str, Path]:
        """Return the file of each phenotype."""
        files = label_files(root, self.label)
        folders = [folder for _, folder in label_paths(root, self.label)]
        if files and files[0].with_suffix("") in folders:
            raise DataError(
                f"{files[0]}: is one file, while a task of many phenotypes reads a folder "
                f"{self.label}/ with a file of each; make that folder, or choose the task binary"
            )
        own = [file for file in files if file.parent in folders]
        return {check_name(file.stem, "phenotype", DataError): file for file in own}

    def state(self) -> dict[str, Any]:
        """Return the phenotypes."""
        return {"phenotypes": self.output_names}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the phenotypes; ValueError for anything but a list of names."""
        self._names = the_list(state, "phenotypes", (str,))

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of cross-entropies and the number of known labels, over all phenotypes."""
        return known_cross_entropy(outputs, targets)

    def predict(self, outputs: Tensor) -> Tensor:
        """Apply the logistic function, in float32."""
        return outputs.float().sigmoid()

    def linear_models(self, targets: Tensor) -> Iterator[tuple[LinearModel, Tensor, slice]]:
        """Yield a logistic regression for each phenotype."""
        yield from ((YesNo(), column, slice(i, i + 1)) for i, column in enumerate(targets.T))

    @property
    def questions(self) -> list[Question]:
        """Return a question for each phenotype."""
        return yes_or_no(self.output_names)

    @property
    def parts(self) -> dict[str, Task]:
        """Return a yes-or-no task for each phenotype."""
        return {name: Binary(label=name) for name in self.output_names}

    def sample_loss(self, targets: Float32s, predicted: Float32s) -> Float32s:
        """Return the mean log loss of the known phenotypes of each sample."""
        return log_losses(self.questions, targets, predicted)
