"""The verb that scores a cohort.

Torch is imported only after the job was found right.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from clintune.config.compose import compose_scoring
from clintune.config.overrides import quoted, read_overrides
from clintune.core.errors import ConfigError
from clintune.scoring.job_folder import make_job, read_job, removed_if_refused
from clintune.scoring.launch import start_job
from clintune.storage.remote import is_remote
from clintune.verbs.arguments import PACKAGE, read_resumable, verb_parser
from clintune.verbs.beforehand import check_job, check_package, check_trusted


def predict(argv: Sequence[str]) -> None:
    """Score a cohort with a package, or go on with a job.

    It runs here, in several processes, or as a job of SLURM.
    """
    arguments = _read(argv)
    if arguments.resume:
        if arguments.words:
            raise ConfigError(
                "predict --resume: takes no KEY=VALUE; "
                "for another `cluster`, give the first command again"
            )
        out = Path(arguments.package)
        start_job(out, read_job(out).cluster, wait=arguments.wait)
        return

    if not any(word.startswith("cohort=") for word in arguments.words):
        read_overrides(arguments.words)  # its error may say why no word begins so
        raise ConfigError("predict: say what to score: add cohort=NAME or cohort=PATH/TO/FOLDER")
    words = [part for word in arguments.words for part in _cohort(word)]
    config = compose_scoring(arguments.package, words)
    check_job(config)
    check_package(config.package)
    check_trusted("predict", config.package, config.trusted)

    out = make_job(config)
    with removed_if_refused(out):
        start_job(out, read_job(out).cluster, wait=arguments.wait)


def _read(argv: Sequence[str]) -> Namespace:
    """Return the arguments of the verb; raise ConfigError for `--resume` without a job."""
    parser = verb_parser(
        "predict",
        "Score a cohort with a package, in shards; "
        "the last line printed is the folder of the predictions.",
        subject="package",
        meaning=PACKAGE,
        words="cohort=NAME or cohort=PATH/TO/FOLDER (must be given), out=FOLDER, "
        "times=FILE or last, and other keys of configs/predict.yaml",
    )
    return read_resumable(parser, argv, "a job", "clintune predict --resume OUT")


def _cohort(word: str) -> list[str]:
    """Return the overrides for `cohort=PATH`, a MEDS folder without a config.

    Another word stays as it is.
    """
    key, _, value = word.partition("=")
    if key != "cohort" or "/" not in value:
        return [word]
    root = value if is_remote(value) else str(Path(value).expanduser().resolve())
    return ["cohort=meds", f"cohorts.meds.root={quoted(root)}"]
