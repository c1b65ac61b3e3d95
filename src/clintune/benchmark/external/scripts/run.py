"""Fit and ask a peer on the rows of one question.

The peer's own Python, which has no clintune, runs this:

    python -I run.py SCRIPT FOLDER

FOLDER/rows.parquet holds a row a sample: `split` (train, tuning, held_out), `label` (0 or 1; null
where held out), `text` and `image` (path of a file) where there are such modalities, and numbers;
null is missing. FOLDER/settings.json: `seed`, `seconds` (time limit of the fit), `text_model`
(folder of a Hugging Face model) and `image_model` (folder of a timm model), null where the recipe
has none.

SCRIPT has PACKAGE, the name of its library, and a function `fit`. That takes the training rows, the
tuning rows (maybe none) and the settings, and writes below the working directory alone. It returns
what predicts the probability of label 1 for rows without label, and the number of weights that
trained; or None where it reads nothing of what there is.

FOLDER/probabilities.parquet is written, for each held-out row in their order, and
FOLDER/result.json. FOLDER holds patients' text: it is removed, and the process ends, when its
standard input does, whatever became of whoever asked.
"""

import json
import os
import runpy
import shutil
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd


def work(script: str, folder: Path) -> dict[str, Any]:
    """Fit and answer the rows; return the figures of it."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    rows = pd.read_parquet(folder / "rows.parquet")
    split = rows.pop("split")
    train = rows[split == "train"].reset_index(drop=True).astype({"label": int})
    tuning = rows[split == "tuning"].reset_index(drop=True).astype({"label": int})
    held_out = rows[split == "held_out"].drop(columns="label").reset_index(drop=True)

    peer = runpy.run_path(script)  # imports the library, before the clock runs
    began = time.perf_counter()
    fitted = peer["fit"](train, tuning, settings)
    if fitted is None:
        return {"reads": False}

    predict, parameters = fitted
    done = time.perf_counter()
    chances = predict(held_out)
    seconds = {"fit_seconds": done - began, "predict_seconds": time.perf_counter() - done}
    pd.DataFrame({"probability": chances}).to_parquet(folder / "probabilities.parquet")
    library = f"{peer['PACKAGE']} {version(peer['PACKAGE'])}"
    return {"reads": True, "library": library, "parameters": parameters, **seconds}


def end_with_input(folder: Path) -> None:
    """Wait for the end of the standard input, then leave nothing behind."""
    # Not by `sys.stdin`, whose lock a thread would hold when the interpreter ends.
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(script: str, folder: Path) -> None:
    """Do the work; write only the kind of an exception: its message may hold patients' text."""
    threading.Thread(target=end_with_input, args=(folder,), daemon=True).start()
    try:
        result = work(script, folder)
    except Exception as error:
        kind = json.dumps({"kind": type(error).__name__})
        (folder / "result.json").write_text(kind, encoding="utf-8")
        raise
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
