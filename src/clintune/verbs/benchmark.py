"""The verb that compares methods.

Only the processes of trials, and the table at the end, import torch.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from clintune.benchmark.runner import check_is_benchmark, run_trials
from clintune.benchmark.suite import find_suite, is_suite_key, read_suite
from clintune.benchmark.trials import plan
from clintune.config.overrides import read_texts
from clintune.core.console import console
from clintune.core.errors import TrainingError
from clintune.core.paths import writable_folder
from clintune.launch.memory import collector_paused
from clintune.verbs.arguments import Parser, verb_parser
from clintune.verbs.beforehand import check_data


def benchmark(argv: Sequence[str]) -> None:
    """Run the trials of a suite that are not finished; write table and page of those that are."""
    if list(argv) == ["--trial"]:  # the process of one trial, see `benchmark.runner`
        with collector_paused():
            from clintune.benchmark.run_trial import answer
        answer(sys.stdin, sys.stdout)
        return

    # Read the suite, and plan its trials.
    arguments = _parser().parse_args(argv)
    path = find_suite(arguments.suite)
    outs = [word for word in arguments.words if word.startswith("out=")]
    words = [word for word in arguments.words if word not in outs]
    texts = read_texts("benchmark", outs, ("out",))
    suite = read_suite(path, [word for word in words if is_suite_key(word)])
    trials = plan(suite, [word for word in words if not is_suite_key(word)])
    check_data({trial.experiment: trial.config for trial in trials})
    out = writable_folder(texts.get("out", f"benchmarks/{path.stem}"), "out")
    check_is_benchmark(out)

    progress = run_trials(trials, suite.methods, out)

    # Write the results, also if some trials failed.
    with collector_paused():
        from clintune.benchmark.page import write_results
    write_results(suite, path, progress, out)
    for line in _failures(progress.failed):
        console.print(line)
    print(out)
    if progress.failed:
        raise TrainingError(
            f"{len(progress.failed)} of {len(trials)} trials failed; "
            "the same command tries them again"
        )


def _parser() -> Parser:
    """Return the parser of the verb's arguments."""
    return verb_parser(
        "benchmark",
        "Compare methods on the same folds and seeds; "
        "the last line printed is the folder of the results. "
        "The same command goes on with what is not finished.",
        subject="suite",
        meaning="real, missing, lowdata, shift, peft, or the path of your own",
        words=(
            "of the suite: out=FOLDER, seeds=[0,1,2], methods=[lora,logistic]; "
            "any other is for its recipes"
        ),
    )


def _failures(reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each reason: the first trial that failed for it, and how many more."""
    trials = defaultdict(list)
    for title, reason in reasons.items():
        trials[reason].append(title)
    for reason, titles in trials.items():
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        yield f"{titles[0]}{more}: {reason}"
