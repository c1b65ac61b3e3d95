"""AutoGluon MultiModal: a text model, an image model and a small network of the numbers.

They are fused and fine-tuned whole, with AutoGluon's own defaults but for the weights that it
starts from. It takes a missing text for an empty one, puts the mean in the place of a missing
number, and gives a missing image features of zero. See `run.py` for what it is given.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from autogluon.multimodal import MultiModalPredictor

PACKAGE = "autogluon.multimodal"


def fit(
    train: pd.DataFrame, tuning: pd.DataFrame, settings: dict[str, Any]
) -> tuple[Callable[[pd.DataFrame], Any], int] | None:
    """Fit on the training rows, and keep what does best on the tuning rows."""
    # Choose a model for each kind of column.
    models, columns = ["fusion_mlp"], {}
    choices: dict[str, Any] = {
        "env.num_gpus": int(torch.cuda.is_available()),
        "env.num_workers": 0,
        "env.num_workers_inference": 0,
    }
    for column, kind, model in (("text", "text", "hf_text"), ("image", "image_path", "timm_image")):
        if column in train and settings[f"{column}_model"]:
            columns[column] = kind
            models.append(model)
            choices[f"model.{model}.checkpoint_name"] = settings[f"{column}_model"]
    numbers = [name for name in train if name not in ("text", "image", "label")]
    if numbers:
        columns |= dict.fromkeys(numbers, "numerical")  # else two values would pass for categories
        models.append("numerical_mlp")
    if not columns:
        return None

    known = [*columns, "label"]
    asks = {"label": "label", "problem_type": "binary", "eval_metric": "roc_auc"}
    predictor = MultiModalPredictor(**asks, path="model", verbosity=0)
    predictor.fit(
        train[known],
        tuning_data=tuning[known] if tuning["label"].nunique() == 2 else None,
        time_limit=settings["seconds"],
        seed=settings["seed"],
        column_types=columns,
        hyperparameters={"model.names": models, **choices},
    )

    def predict(rows: pd.DataFrame) -> Any:
        return np.asarray(predictor.predict_proba(rows[list(columns)])[1])

    return predict, predictor.trainable_parameters
