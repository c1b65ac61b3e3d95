"""Find values of a config that fit by themselves, but not together.

docs/performance.md explains the strategies.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clintune.config.suggest import nearest
from clintune.storage.remote import is_remote, redact

_MOST_FOLDS = 1000


def together(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each combination of values that cannot be meant."""
    yield from _cohorts(config)
    yield from _strategy(config)
    yield from _folds(config)
    yield from _splits(config)
    yield from _learning(config)
    yield from _metric(config)


def _cohorts(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each two cohorts of one folder: equal ids would count as two people."""
    first: dict[str, str] = {}
    for name, cohort in config["cohorts"].items():
        root = cohort["root"]
        place = root.rstrip("/") if is_remote(root) else os.path.realpath(Path(root).expanduser())
        other = first.setdefault(place, name)
        if other != name:
            yield (
                f"'cohorts.{other}' and 'cohorts.{name}' are one folder, {redact(place)}: the same "
                "people would train and test; drop one of them, also from the defaults"
            )


def _strategy(config: dict[str, Any]) -> Iterator[str]:
    strategy, cluster = config["strategy"], config["cluster"]
    number = cluster["nodes"] * (cluster["processes"] or max(1, cluster["gpus_per_node"]))
    if strategy["kind"] == "single" and number > 1:
        yield (
            f"strategy=single takes one process, and 'cluster' asks for {number}; "
            "use strategy=ddp or fsdp2"
        )

    is_sharded = strategy["kind"] == "fsdp2"
    if is_sharded and config["backbone"]["quantize"] is not None:
        yield "strategy=fsdp2 cannot shard 4-bit weights; use strategy=ddp with adapter=qlora"
    if is_sharded and config["trainer"]["precision"] == "fp16":
        yield "strategy=fsdp2 has no loss scaling for trainer.precision=fp16; use bf16 or fp32"
    if strategy["cpu_offload"] and not is_sharded:
        yield "strategy.cpu_offload goes with strategy=fsdp2 only"


def _folds(config: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with `cv`, which is a number of folds or a file of them."""
    cv, repeats = config["cv"], config["cv_repeats"]
    if cv is None:
        if repeats != 1:
            yield "'cv_repeats' is set without cv; add cv=5"
        return

    if isinstance(cv, str):
        if len(config["cohorts"]) != 1:
            yield (
                "'cv' names a file, but the run has several cohorts; "
                "set cohorts.NAME.folds and cv to a number"
            )
        if repeats != 1:
            yield "'cv' names a file of folds, which cannot be repeated; set cv_repeats=1"
    elif isinstance(cv, bool) or not isinstance(cv, int) or not 2 <= cv <= _MOST_FOLDS:
        yield f"'cv' is {str(cv).lower()}; give 2 to {_MOST_FOLDS} folds, a file of folds, or null"


def _splits(config: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the splits of each cohort."""
    for name, cohort in config["cohorts"].items():
        splits, where = cohort["splits"], f"cohorts.{name}.splits"
        if splits["stratify"] is not None and splits["stratify"] not in config["tasks"]:
            hint = nearest(splits["stratify"], config["tasks"])
            yield f"'{where}.stratify': '{splits['stratify']}' is none of the tasks{hint}"

        if splits["group"] is not None and cohort["groups"] is None:
            yield f"'{where}.group' names a column of cohorts.{name}.groups; set that to the file"
        if splits["group"] is not None and config["cv"] is not None:
            yield f"'{where}.group' holds out groups, and 'cv' folds; set one of them to null"
        elif splits["group"] is None and splits["held_out_groups"]:
            yield f"'{where}.held_out_groups' names groups of no column; set {where}.group"
        elif splits["group"] == "subject_id":
            yield (
                f"'{where}.group' is subject_id, of which each subject is a group; "
                "name another column"
            )
        elif splits["group"] is not None and not splits["held_out_groups"]:
            yield (
                f"'{where}.held_out_groups' is empty; "
                f"name the groups of {splits['group']} that are held out"
            )

        if splits["train_share"] == 0:
            yield f"'{where}.train_share' is 0: nobody would train; raise it"

        # Without folds and groups, the held-out subjects are drawn as well.
        drawn = config["cv"] is None and splits["group"] is None
        taken = splits["tuning"] + (splits["held_out"] if drawn else 0)
        if taken >= 1:
            held_out = f" and held_out {splits['held_out']}" if drawn else ""
            shares = f"tuning {splits['tuning']}{held_out}"
            yield f"'{where}': {shares} leave nothing to train on; lower them"


def _learning(config: dict[str, Any]) -> Iterator[str]:
    """Yield each reason why nothing would be learned."""
    # Steps and learning rates.
    trainer = config["trainer"]
    steps = "max_steps" if trainer["max_steps"] is not None else "epochs"
    if trainer[steps] == 0:
        if config["model"]["readout"] not in ("probe", "boosted"):
            yield (
                f"'trainer.{steps}' is 0: nothing would train; "
                "raise it, or add model.readout=probe for a probe alone"
            )
    elif trainer["lr"] == 0 and not (trainer["head_lr"] and config["adapter"]["mode"] == "frozen"):
        yield (
            "'trainer.lr' is 0: nothing would be learned; "
            "raise it (adapter=frozen keeps the backbone as it is)"
        )
    elif trainer["head_lr"] == 0:
        yield (
            "'trainer.head_lr' is 0: heads and projectors would not learn; "
            "raise it, or set null for trainer.lr"
        )

    if trainer["average"] == 1:
        yield "'trainer.average' is 1: the average would never move; give less, as 0.99"
    if trainer["clip"] == 0:
        yield "'trainer.clip' is 0: no gradient would pass; raise it, as to 1.0"

    # Weights of the tasks.
    weights = {name: task.get("weight", 1.0) for name, task in config["tasks"].items()}
    for name in (name for name, weight in weights.items() if weight < 0):
        yield (
            f"'tasks.{name}.weight' is {weights[name]}: the task would be trained to be wrong; "
            "give 0 or more"
        )
    if not any(weights.values()):
        yield "every task has weight 0: nothing would be learned; raise one"


def _metric(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for a tuning metric that does not exist.

    Tasks from outside clintune may have metrics of their own, so a run with one is not checked.
    """
    metric = config["trainer"]["metric"]
    own = all(task["_target_"].startswith("clintune.") for task in config["tasks"].values())
    if metric is None or not own:
        return

    # Imported here: it needs NumPy, and few recipes name a metric.
    from clintune.metrics import known_names

    known = {"loss", *known_names()}
    if metric not in known:
        yield f"'trainer.metric': '{metric}' is a metric of no task{nearest(metric, known)}"
