"""Writes what both sides read: the cohort, the list of its samples, the weights. Not timed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from settings import BACKBONES, Settings
from transformers import AutoConfig, AutoModel

from clintune.cohort.generators.quickstart import write_quickstart
from clintune.cohort.samples import Samples
from clintune.config.compose import compose_recipe
from clintune.experiment.open import open_experiment
from clintune.modalities.images.encoders import load_efficientnet_lite0
from clintune.weights import resolve

SPLITS = "subject_splits.parquet"
RECIPE = """# Notes and images of the benchmark's cohort; every labelled subject trains.
defaults:
  - base
  - cohort: [meds]
  - modality: [notes, imaging]
  - task@tasks.outcome: binary
  - _self_
"""


def prepare(
    folder: Path, *, backbone: str, cohort: Path | None, label: str, subjects: int, image_size: int
) -> Settings:
    """Write everything to `folder`; return the settings that name it."""
    if cohort is None:
        cohort = folder / "generated"
        if not cohort.exists():
            write_quickstart(cohort, subjects=subjects, image_size=image_size, signal_days=1)

    link_cohort(cohort, folder / "cohort")
    (folder / "speed.yaml").write_text(RECIPE, encoding="utf-8")

    # MiniLM reads the notes, and is the backbone unless a larger random one is asked for.
    text = str(resolve("bundled:minilm").path)
    settings = Settings(
        folder=str(folder), text_model=text, backbone=text, label=label, image_size=image_size
    )
    if backbone != "minilm":
        path = folder / backbone
        write_random_backbone(path, BACKBONES[backbone])
        settings = settings.change(
            backbone=str(path),
            backbone_dtype="bfloat16",
            lora_targets="all-linear",
            regions=7,
            batch_size=48,
            max_tokens=512,
        )

    write_samples(folder, settings)
    model = load_efficientnet_lite0(resolve("bundled:efficientnet_lite0").path)
    model.reset_classifier(0)
    save_file(model.state_dict(), folder / "image.safetensors")
    return settings


def link_cohort(cohort: Path, linked: Path) -> None:
    """Link a cohort's files but those of its splits.

    Speed needs no held-out subjects, and no tuning in between.
    """
    (linked / "metadata").mkdir(parents=True)
    metadata = cohort / "metadata"
    for path in [*cohort.iterdir(), *(metadata.iterdir() if metadata.is_dir() else [])]:
        if path != metadata and path.name != SPLITS:
            (linked / path.relative_to(cohort)).symlink_to(path.resolve())


def overrides(settings: Settings) -> list[str]:
    """Return the settings as overrides of the recipe."""
    folder = Path(settings.folder)
    values: dict[str, Any] = {
        "cohorts.meds.root": folder / "cohort",
        "cohorts.meds.splits.tuning": 0.0,
        "cohorts.meds.splits.held_out": 0.0,
        "tasks.outcome.label": settings.label,
        "modalities.notes.source": settings.text_model,
        "modalities.notes.chunk": "tokens",
        "modalities.notes.chunk_tokens": settings.chunk_tokens,
        "modalities.notes.overlap_tokens": settings.overlap_tokens,
        "modalities.notes.max_pieces": settings.max_chunks,
        "modalities.notes.mode": settings.encoders,
        "modalities.imaging.size": settings.image_size,
        "modalities.imaging.regions": settings.regions,
        "modalities.imaging.max_pieces": settings.max_images,
        "modalities.imaging.mode": settings.encoders,
        "backbone.source": settings.backbone,
        "backbone.sha256": None,
        "backbone.dtype": settings.backbone_dtype,
        "backbone.quantize": settings.quantize,
        "backbone.max_tokens": settings.max_tokens,
        "adapter.r": settings.lora_r,
        "adapter.alpha": settings.lora_alpha,
        "adapter.targets": settings.lora_targets,
        "trainer.epochs": settings.epochs,
        "trainer.batch_size": settings.batch_size,
        "trainer.micro_batch_size": settings.batch_size,
        "model.readout": None,  # the plain loop has none
        "trainer.lr": settings.lr,
        "trainer.head_lr": None,
        "trainer.weight_decay": settings.weight_decay,
        "trainer.warmup": settings.warmup,
        "trainer.clip": settings.clip,
        "trainer.precision": settings.precision,
        "seed": settings.seed,
        "runs": folder / "runs",
        "data.cache": folder / "cache",
    }
    return [f"{key}={'null' if value is None else value}" for key, value in values.items()]


def write_samples(folder: Path, settings: Settings) -> None:
    """Write the labelled samples as JSON lines, for the plain loop.

    It may see what clintune sees, and no more.
    """
    config = compose_recipe(
        folder / "speed.yaml", [*overrides(settings), f"data.cache={folder / 'listing'}"]
    )
    experiment = open_experiment(config)
    samples = experiment.samples
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in samples.labelled().nonzero()[0]:
            file.write(json.dumps(_listed(samples, int(row))) + "\n")


def write_random_backbone(folder: Path, shape: dict[str, Any]) -> None:
    """Write a Qwen3 of this shape, random and bf16.

    The vocabulary is small, since tokens come as embeddings.
    """
    config = AutoConfig.for_model(
        "qwen3", vocab_size=1024, max_position_embeddings=4096, use_cache=False, **shape
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModel.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)


def _listed(samples: Samples, row: int) -> dict[str, Any]:
    notes, images = (samples.items(name, np.array([row])) for name in ("notes", "imaging"))
    (label,) = samples.targets("outcome")[row].tolist()
    return {
        "notes": [(item.hours, item.text) for item in notes],
        "images": [(item.hours, str(item.path)) for item in images],
        "label": label,
    }
