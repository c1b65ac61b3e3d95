"""Runs one variant in a process of its own, which reads and writes JSON files.

    variant.py NAME SETTINGS RESULT [OVERRIDES]

clintune   clintune's own training path, from an empty cache or a warm one
plain      the plain loop
floor      forward, backward and optimizer step of clintune's model on one batch, repeated
prepare    what both sides read; its settings are the arguments of `prepare`
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from measure import Meter
from settings import Settings
from torch import Tensor


def clintune(settings: Settings, *more: str, keep: int = 0) -> tuple[Meter, dict[str, Any]]:
    """Train with clintune; return the meter that watched, with `keep` batches, and the figures."""
    from prepare import overrides

    from clintune.config.compose import compose_recipe
    from clintune.launch.memory import collector_paused

    with collector_paused():  # as the command line does
        from clintune.model.fusion import Fusion
        from clintune.training.run import train_run

    meter = Meter(Fusion, "backbone", fusion_lengths, keep)
    config = compose_recipe(Path(settings.folder) / "speed.yaml", [*overrides(settings), *more])
    run = train_run(config)
    results = meter.results()
    assert run is not None
    history = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return meter, results | {"losses": [json.loads(line)["loss"] for line in history]}


def plain(settings: Settings) -> dict[str, Any]:
    """Train with the plain loop."""
    from plain_loop import Model, train

    meter = Meter(Model, "backbone", _plain_lengths)
    losses = train(settings)
    return meter.results() | {"losses": losses}


def floor(settings: Settings, num_steps: int = 60) -> dict[str, Any]:
    """Time the bare step of clintune's model on the batch of median size of a short training."""
    found, _ = clintune(
        settings, "trainer.max_steps=16", "trainer.checkpoint_every=1000000", keep=16
    )
    model: Any = found.model
    by_size = sorted(range(len(found.positions)), key=found.positions.__getitem__)
    batch = found.batches[by_size[len(by_size) // 2]]

    # Take steps on that batch alone.
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-5
    )
    model.train()
    again = Meter(type(model), "backbone", fusion_lengths)
    losses = []
    for _ in range(num_steps):
        logits = model(batch)["outcome"].float()
        targets = batch.targets["outcome"].to(logits.device)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return again.results() | {"losses": losses}


def fusion_lengths(model: Any, batch: Any) -> Tensor:
    """Return each sample's tokens [N]: those of its pieces, and one query a task."""
    total = torch.full((len(batch),), len(model.queries))
    for name, pieces in batch.pieces.items():
        counts = torch.bincount(pieces.owner.cpu(), minlength=len(batch))
        total += counts * model.encoders[name].tokens_per_piece
    return total.clamp(max=model.max_tokens)


def _plain_lengths(model: Any, batch: Any) -> Tensor:
    """Return each sample's tokens [N]: those of its chunks and images, and one query."""
    num_chunks, num_samples = len(batch["ids"]), len(batch["labels"])
    owner = batch["owner"].cpu()
    chunks, images = (
        torch.bincount(part, minlength=num_samples)
        for part in (owner[:num_chunks], owner[num_chunks:])
    )
    return chunks + images * (1 + model.regions**2) + 1


def main() -> None:
    """Run the variant that the arguments name."""
    name, given, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    values = json.loads(given.read_text(encoding="utf-8"))
    results: dict[str, Any]
    if name == "prepare":
        from prepare import prepare

        cohort = values.pop("cohort")
        results = asdict(
            prepare(Path(values.pop("folder")), cohort=cohort and Path(cohort), **values)
        )
    elif name == "clintune":
        results = clintune(Settings(**values), *sys.argv[4:])[1]
    else:
        results = {"plain": plain, "floor": floor}[name](Settings(**values))
    result.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
