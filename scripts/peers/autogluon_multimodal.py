"""AutoGluon MultiModal on the rows of one fold and task; runs in an environment of its own (scripts/peers/venv).

    .venv-autogluon/bin/python scripts/peers/autogluon_multimodal.py FOLDER

FOLDER/rows.parquet holds a row a sample: `split` (train, tuning, held_out), `label` (0 or 1, null where unknown),
`text` and `image` (path of a file) where there are such modalities, and the plain facts as numbers; null is missing.
FOLDER/settings.json: `seed`, `seconds` (time limit of the fit, null for none), `text_model` (folder of a Hugging Face
model), `image_model` (folder of a timm model as AutoGluon saves them). FOLDER/probabilities.parquet is written:
`probability` of label 1 for each held-out row, in their order.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are given: nothing is fetched

import numpy as np
import pandas as pd
from autogluon.multimodal import MultiModalPredictor


def main(folder: Path) -> None:
    """Fit on the training rows, stop early on the tuning rows, and predict the held-out ones."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    rows = pd.read_parquet(folder / "rows.parquet")
    split = rows.pop("split")
    known = rows["label"].notna()
    parts = {name: rows[(split == name) & (known | (name == "held_out"))] for name in ("train", "tuning", "held_out")}
    tuning = parts["tuning"] if parts["tuning"]["label"].nunique() == 2 else None
    predictor = MultiModalPredictor(
        label="label", problem_type="binary", path=str(folder / "model"), verbosity=0, eval_metric="roc_auc"
    )
    models = ["fusion_mlp"]
    choices = {"env.num_gpus": 0, "env.num_workers": 0, "env.num_workers_inference": 0}
    if "text" in rows and settings["text_model"]:
        models.append("hf_text")
        choices["model.hf_text.checkpoint_name"] = settings["text_model"]
    if "image" in rows and settings["image_model"]:
        models.append("timm_image")
        choices["model.timm_image.checkpoint_name"] = settings["image_model"]
    if set(rows.columns) - {"text", "image", "label"}:
        models.append("numerical_mlp")
    predictor.fit(
        parts["train"].astype({"label": int}),
        tuning_data=None if tuning is None else tuning.astype({"label": int}),
        time_limit=settings["seconds"],
        seed=settings["seed"],
        column_types={name: kind for name, kind in {"text": "text", "image": "image_path"}.items() if name in rows},
        hyperparameters={"model.names": models, **choices},
    )
    chances = np.asarray(predictor.predict_proba(parts["held_out"].drop(columns="label"), as_pandas=False))
    pd.DataFrame({"probability": chances[:, 1]}).to_parquet(folder / "probabilities.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
