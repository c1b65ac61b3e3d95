"""Share the shards of a job among processes.

Each process takes the next shard that nobody holds; the last one to end writes the summary.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from clintune.core.console import console
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.files import atomic_path, write_json
from clintune.core.locks import try_lock
from clintune.core.progress_bar import progress_bar
from clintune.core.text import first_few
from clintune.evaluation.predict import to_predictions
from clintune.evaluation.predictions import CALIBRATED, RAW, write_shard
from clintune.inference.answers import Answers
from clintune.launch.memory import peak_memory_mb
from clintune.launch.processes import is_main
from clintune.launch.signals import install_signal_handlers
from clintune.launch.status import StatusWriter, reported, resumable
from clintune.scoring.job import Job, open_job
from clintune.scoring.job_folder import Shard, done_shards
from clintune.scoring.score import Scorer
from clintune.scoring.summarize import finish

_POLL_SECONDS = 1
_MORE_LACK = 0.2
"""Warn if the share of samples that lack a modality is this much larger than in training."""
_MANY_LACK = 0.5
"""Warn if the share is this large and the one in training is not known."""


def score_job(out: Path) -> None:
    """Score what is left of the job in a folder, beside other processes; return when all is done.

    Raises what opening and scoring raise; StoppedError after a signal, which drops the current
    shard.
    """
    install_signal_handlers()
    with _resumable(out), reported(out, is_main()) as report:
        job = open_job(out)
        if is_main():
            for sentence in [*lacking_words(job.lacking, job.lacked), *_absent_codes(job)]:
                console.print(sentence)

        scorer = Scorer(job)
        with _bar(job, report, out) as show:
            while left := show():
                for shard in left:
                    with try_lock(shard.record) as mine:
                        if mine and not shard.is_done():
                            _score(job, scorer, shard)
                            show()
                # Other processes hold what is left; a shard of a dead process is free again.
                if show():
                    time.sleep(_POLL_SECONDS)
        finish(out, job.shards, job.lacking)


def lacking_words(lacking: Mapping[str, float], lacked: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each modality that samples lack; it is a warning if training lacked less."""
    for name, share in lacking.items():
        if share == 0:
            continue

        # Compare with training.
        before = lacked.get(name)
        if before is None:
            known = "the package does not say how many in training"
            is_warned = share >= _MANY_LACK
        else:
            known = f"{before:.0%} in training"
            is_warned = share - before >= _MORE_LACK

        line = f"{share:.0%} of the samples have no {name} ({known})"
        advice = "the model was not trained for such patients, check the cohort's codes and paths"
        yield f"warning: {line}; {advice}" if is_warned else f"note: {line}"


def _absent_codes(job: Job) -> Iterator[str]:
    """Yield a line for each modality with codes that no row of the cohort has.

    A cohort of few subjects is left out: it would tell of them.
    """
    if len(np.unique(job.samples.subject)) < SMALLEST_SHOWN:
        return
    there = set(job.samples.codes())
    for name, statistics in job.predictor.members[0].statistics.items():
        known = statistics.get("codes", {})
        if absent := sorted(known.keys() - there):
            yield (
                f"note: {name}: no row of the cohort has {len(absent)} of the {len(known)} codes "
                f"that the model reads ({first_few(absent)}); "
                "look whether they are called otherwise"
            )


def _score(job: Job, scorer: Scorer, shard: Shard) -> None:
    """Score a shard and write its results, its counts last."""
    start = time.monotonic()
    rows = np.arange(shard.start, shard.stop)
    scored = scorer.score(rows)
    for name in scored.answers.calibrated:
        _write(job, shard, name, scored.answers)
    if len(scored.unreadable):
        with atomic_path(shard.unreadable) as partial:
            scored.unreadable.write_parquet(partial)

    record = {
        "samples": len(rows),
        "abstained": dict(_counts(job, scored.answers)),
        "not_finite": {
            name: int(broken.sum()) for name, broken in scored.answers.not_finite.items()
        },
        "unreadable": len(scored.unreadable),
        "strange": dict(scored.strange),
        "seconds": time.monotonic() - start,
        "peak_memory_mb": peak_memory_mb(),
    }
    write_json(shard.record, record)


def _write(job: Job, shard: Shard, name: str, answers: Answers) -> None:
    """Write the answers to a task: calibrated with decisions, and raw as the members give them."""
    rows, task = np.arange(shard.start, shard.stop), job.predictor.tasks[name]
    abstained, labelled = answers.abstained[name], job.labelled[name]
    predictions = to_predictions(job.samples, rows, name, answers.calibrated[name], 0, False)
    if not predictions.targets.shape[1]:  # the cohort has no labels for the task
        predictions = replace(predictions, targets=np.full(abstained.shape, np.nan, np.float32))
        labelled = np.zeros(abstained.shape[1], np.bool_)

    undecided = np.ones_like(abstained) if task.questions else abstained
    raw = replace(predictions, predicted=answers.raw[name])
    for folder, part, withheld in ((CALIBRATED, predictions, abstained), (RAW, raw, undecided)):
        write_shard(
            shard.out / folder, name, shard.name, part, task, withheld=withheld, labelled=labelled
        )


def _counts(job: Job, answers: Answers) -> Iterator[tuple[str, int]]:
    """Yield each task, or each part of it, and on how many samples it abstains."""
    for name, abstained in answers.abstained.items():
        names = [f"{name}/{part}" for part in job.predictor.tasks[name].parts] or [name]
        yield from zip(names, abstained.sum(axis=0).tolist(), strict=True)


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Name the way to go on in each error that stops the job; copy messages to the folder's log."""
    log = console.copied_to(out / "logs" / "messages.log") if is_main() else nullcontext()
    with log, resumable("predict", "--resume", str(out)):
        yield


@contextmanager
def _bar(job: Job, report: StatusWriter, out: Path) -> Iterator[Callable[[], list[Shard]]]:
    """Yield a function that shows and reports progress, and returns the shards that are left.

    Samples count as done whichever process scored them.
    """
    with progress_bar("score", len(job.samples), "samples", shown=is_main()) as advance:

        def show() -> list[Shard]:
            done = done_shards(out)
            left = [shard for shard in job.shards if shard.name not in done]
            num_left = sum(shard.stop - shard.start for shard in left)
            advance(len(job.samples) - num_left)
            report.update(part="shards", step=len(done), num_steps=len(job.shards))
            return left

        yield show
