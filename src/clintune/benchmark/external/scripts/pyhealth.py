"""PyHealth: MedFuse (Hayat et al., MLHC 2022) where there are images, else an MLP of numbers.

Images may be missing. PyHealth has no model that reads notes beside numbers, so notes are left out.
Its image encoders start from nothing: their weights would have to be fetched. Numbers are
standardised by the training rows; a missing one is 0, and marked. See `run.py` for what it gets.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from pyhealth.datasets import create_sample_dataset, get_dataloader
from pyhealth.models import MLP, MedFuse
from pyhealth.trainer import Trainer

PACKAGE = "pyhealth"
BATCH = 32
EPOCHS = 50
PATIENCE = 10
"""Epochs without a better score on the tuning rows after which training ends."""
SIZE = 224


class TimedTrainer(Trainer):  # type: ignore[misc]
    """PyHealth's trainer, which scores the tuning rows after each epoch, until a deadline."""

    deadline = 0.0

    def evaluate(self, dataloader: Any) -> Any:
        """Score rows; raises TimeoutError where the time is over."""
        if time.monotonic() > self.deadline:
            raise TimeoutError
        return super().evaluate(dataloader)


class Samples:
    """Rows as PyHealth's samples, by what was learnt of the training rows."""

    def __init__(self, train: pd.DataFrame) -> None:
        self.numbers = [name for name in train if name not in ("text", "image", "label")]
        self.has_images = "image" in train
        table = train[self.numbers].to_numpy(float)
        self.mean, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.gaps = np.isnan(table).any(axis=0)
        self.schema: dict[str, Any] = {"facts": "tensor"}
        if self.has_images:
            image = ("image", {"image_size": SIZE, "mode": "RGB"})
            self.schema = {"ehr": "tensor", "cxr": image, "cxr_mask": "tensor"}
        self.blank = Path("blank.png").absolute()
        Image.new("RGB", (SIZE, SIZE)).save(self.blank)

    def make(self, rows: pd.DataFrame) -> list[dict[str, Any]]:
        """Return a sample a row; those without a label get one that nobody reads."""
        table = rows[self.numbers].to_numpy(float)
        scaled = np.nan_to_num((table - self.mean) / self.spread)
        vectors = np.concatenate([scaled, np.isnan(table)[:, self.gaps]], axis=1).tolist()
        labels = rows["label"].tolist() if "label" in rows else [0] * len(rows)
        samples = [{"patient_id": str(n), "label": label} for n, label in enumerate(labels)]
        if not self.has_images:
            pairs = zip(samples, vectors, strict=True)
            return [sample | {"facts": vector} for sample, vector in pairs]

        # Whether there is an image stands among the numbers too: there must be a number, as a step
        # of a series.
        found = []
        presence = rows["image"].notna().astype(int)
        for sample, vector, image, there in zip(
            samples, vectors, rows["image"], presence, strict=True
        ):
            seen = image if there else str(self.blank)
            ehr = [[*vector, float(there)]]
            found.append(sample | {"ehr": ehr, "cxr": seen, "cxr_mask": there})
        return found


def fit(
    train: pd.DataFrame, tuning: pd.DataFrame, settings: dict[str, Any]
) -> tuple[Callable[[pd.DataFrame], Any], int] | None:
    """Train on the training rows, and keep the epoch that does best on the tuning rows."""
    deadline = time.monotonic() + settings["seconds"]
    torch.manual_seed(settings["seed"])
    made = Samples(train)
    if not made.numbers and not made.has_images:
        return None

    # Prepare the rows; what is learnt of the training rows serves all others.
    first = create_sample_dataset(made.make(train), made.schema, {"label": "binary"})

    def loader(rows: pd.DataFrame) -> Any:
        fitted = {
            "input_processors": first.input_processors,
            "output_processors": first.output_processors,
        }
        dataset = create_sample_dataset(made.make(rows), made.schema, {"label": "binary"}, **fitted)
        return get_dataloader(dataset, BATCH)

    # Train until the deadline.
    fused = {"cxr_backbone": "resnet18", "cxr_pretrained": False}
    model = MedFuse(first, **fused) if made.has_images else MLP(first)
    trainer = TimedTrainer(model, metrics=["roc_auc"], output_path=".", exp_name="model")
    trainer.deadline = deadline
    scored = tuning["label"].nunique() == 2
    try:
        trainer.train(
            get_dataloader(first, BATCH, shuffle=True, seed=settings["seed"]),
            loader(tuning) if scored else None,
            epochs=EPOCHS,
            monitor="roc_auc" if scored else None,
            patience=PATIENCE,
        )
    except TimeoutError:
        best = Path("model", "best.ckpt")
        if best.exists():
            trainer.load_ckpt(str(best))

    def predict(rows: pd.DataFrame) -> Any:
        return trainer.inference(loader(rows))[1][:, 0]

    return predict, sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
