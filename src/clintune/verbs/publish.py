"""The verb that makes a release of a run and sends it to a hub. Torch is imported once the arguments are right."""

from collections.abc import Sequence
from pathlib import Path

from clintune.config.moved import moved
from clintune.config.overrides import read_texts
from clintune.core.errors import ConfigError
from clintune.experiment.resume import held, run_config
from clintune.hub.base import open_hub
from clintune.launch.memory import collector_paused
from clintune.publishing.card_answers import read_answers, require_answers
from clintune.verbs.arguments import run_folder, verb_parser
from clintune.verbs.beforehand import check_evaluated

_KEYS = ("hub", "tag", "revision", "fold", "canaries")


def publish(argv: Sequence[str]) -> None:
    """Make and check the release of a run; with a hub, send it there."""
    parser = verb_parser(
        "publish",
        "Make the release of a run, check that it holds nothing of a patient, and send it to a hub. "
        "Without hub= nothing leaves; the last line printed is the address to load from.",
        subject="run",
        meaning="folder of a run that has been evaluated",
        words="hub=ADDRESS (hf://org/name, models:/name, a folder, a URL), tag=v1, revision=BRANCH, fold=0-3, "
        "canaries=FILE (one string a line that no file may hold); cohorts.NAME.root=FOLDER, data.cache=FOLDER (moved)",
    )
    parser.add_argument(
        "--public", action="store_true", help="let everybody see it, where the hub knows private"
    )
    parser.add_argument("--draft", action="store_true", help="with open questions on the card")
    arguments = parser.parse_intermixed_args(argv)
    run = run_folder(arguments.run)
    places = [word for word in arguments.words if word.startswith(("cohorts.", "data."))]
    settings = read_texts(
        "publish", [word for word in arguments.words if word not in places], _KEYS
    )
    of_hub = [*(settings.keys() & {"tag", "revision"}), *(["--public"] if arguments.public else [])]
    if of_hub and "hub" not in settings:
        raise ConfigError(
            f"publish: {of_hub[0]} says how to send to a hub; add hub=ADDRESS, or leave it out"
        )
    canaries = _lines(settings["canaries"]) if "canaries" in settings else []

    hub = None
    if "hub" in settings:
        hub = open_hub(
            settings["hub"],
            revision=settings.get("revision"),
            tag=settings.get("tag"),
            public=arguments.public,
        )

    # Before torch: who learns that questions are open should not wait for it.
    answers = read_answers(run, moved(run_config(run), places, "publish").name)
    if not arguments.draft:
        require_answers(answers, run)
    check_evaluated(run)

    with collector_paused():
        from clintune.publishing.release import make_release

    with held(run, "published"):
        release = make_release(
            run,
            fold_name=settings.get("fold"),
            canaries=canaries,
            draft=arguments.draft,
            places=places,
        )
    print(release if hub is None else hub.send(release))


def _lines(name: str) -> list[str]:
    """Return the lines of a file that are not empty; ConfigError where there are none."""
    try:
        lines = [line for line in Path(name).read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError):
        lines = []
    if not lines:
        raise ConfigError(
            f"publish: canaries={name} is no file with text; give one with a string a line"
        )
    return lines
