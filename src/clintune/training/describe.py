"""The dry run: everything built, nothing trained."""

from pathlib import Path

from omegaconf import DictConfig
from rich.box import SIMPLE
from rich.table import Table

from clintune.core.console import console
from clintune.core.seeding import derive_seed
from clintune.model.build import build_model, fit_statistics, parameters_of
from clintune.training.partition import rows_by_split, split_of, units
from clintune.training.prepare import tell_held_back
from clintune.training.workspace import Workspace, open_workspace

LORA_SHARE = 0.05
"""Share of trainable parameters above which a run under LoRA is suspect: it trains more than an adapter."""


def describe(config: DictConfig) -> None:
    """Build the first unit's model and print its parts, shapes, parameters, token budget and samples by split."""
    workspace = open_workspace(config)
    unit = units(config, Path(), workspace.samples)[0]
    rows = rows_by_split(split_of(config, workspace.samples, unit))
    modalities = workspace.modalities
    statistics = fit_statistics(modalities, workspace.samples, rows["train"], workspace.cache)
    tell_held_back(modalities, statistics)
    outputs = {name: task.num_outputs for name, task in workspace.tasks.items()}
    model = build_model(config, modalities, statistics, outputs, derive_seed(config.seed))

    parts = Table("part", "kind", "shape", "mode", "trainable", "total", title=config.name, box=SIMPLE)
    for name, modality in modalities.items():
        width = modality.width or model.backbone.width
        shape = f"{modality.max_pieces} x {modality.tokens_per_piece} x {width}"
        sizes = [f"{number:,}" for number in parameters_of(modality)]
        parts.add_row(name, type(modality).__name__, shape, modality.mode, *sizes)
    backbone = f"{config.backbone.max_tokens} x {model.backbone.width}"
    sizes = [f"{number:,}" for number in parameters_of(model.backbone)]
    parts.add_row("backbone", config.backbone.source, backbone, config.adapter.mode, *sizes)
    for name, head in model.heads.items():
        shape = str(outputs[name])
        parts.add_row(
            f"tasks.{name}",
            type(workspace.tasks[name]).__name__,
            shape,
            "full",
            *map("{:,}".format, parameters_of(head)),
        )
    trains, total = parameters_of(model)
    parts.add_row("all", "", "", "", f"{trains:,}", f"{total:,}", style="bold")
    console.print(parts)
    console.print(
        "shape: pieces a sample x tokens a piece x width; of the backbone: tokens x width; of a task: outputs"
    )
    console.print(f"trainable share {trains / total:.2%}")
    if config.adapter.mode == "lora" and trains > LORA_SHARE * total:
        console.print(
            f"warning: {trains / total:.1%} of the parameters train, more than {LORA_SHARE:.0%}: this is more than a "
            "LoRA adapter; lower adapter.r, or freeze encoders (modalities.NAME.mode=frozen)",
            style="yellow",
        )
    console.print(_data(workspace, {name: len(r) for name, r in rows.items()}))
    for name, r in rows.items():
        per_modality = {m: int((workspace.samples.num_items(m)[r] > 0).sum()) for m in modalities}
        console.print(f"{name}: samples with " + ", ".join(f"{m} {number}" for m, number in per_modality.items()))


def _data(workspace: Workspace, counts: dict[str, int]) -> str:
    budget = sum(m.max_pieces * m.tokens_per_piece for m in workspace.modalities.values()) + len(workspace.tasks)
    listed = ", ".join(f"{name} {number}" for name, number in counts.items())
    limit = workspace.config.backbone.max_tokens
    asked = f"modalities ask for {budget}, backbone.max_tokens is {limit}"
    return f"token budget {min(budget, limit)} a sample ({asked}); samples: {listed}"
