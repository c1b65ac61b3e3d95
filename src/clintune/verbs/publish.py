"""The verb that makes a release of a run and sends it to a hub.

Torch is imported only after the arguments were found right.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clintune.config.moved import moved
from clintune.config.overrides import read_texts
from clintune.core.errors import ConfigError
from clintune.experiment.resume import held, run_config
from clintune.hub.base import Hub, open_hub
from clintune.launch.memory import collector_paused
from clintune.publishing.card_answers import read_answers, require_answers
from clintune.verbs.arguments import Parser, run_folder, verb_parser
from clintune.verbs.beforehand import check_evaluated

_KEYS = ("hub", "tag", "revision", "fold", "canaries")


def publish(argv: Sequence[str]) -> None:
    """Make and check the release of a run; with a hub, send it there."""
    arguments = _parser().parse_intermixed_args(argv)
    run = run_folder(arguments.run)
    places = [word for word in arguments.words if word.startswith(("cohorts.", "data."))]
    others = [word for word in arguments.words if word not in places]
    settings = read_texts("publish", others, _KEYS)
    canaries = _lines(settings["canaries"]) if "canaries" in settings else []
    hub = _hub(settings, public=arguments.public)

    # Before torch: nobody should wait for it to learn that questions are open.
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


def _parser() -> Parser:
    """Return the parser of the verb's arguments."""
    parser = verb_parser(
        "publish",
        "Make the release of a run, check that it holds nothing of a patient, and send it to a "
        "hub. Without hub= nothing leaves; the last line printed is the address to load from.",
        subject="run",
        meaning="folder of a run that has been evaluated",
        words="hub=ADDRESS (hf://org/name, models:/name, a folder, a URL), tag=v1, "
        "revision=BRANCH, fold=0-3, canaries=FILE (one string a line that no file may hold); "
        "cohorts.NAME.root=FOLDER, data.cache=FOLDER (moved)",
    )

    parser.add_argument(
        "--public", action="store_true", help="let everybody see it, where the hub knows private"
    )
    parser.add_argument("--draft", action="store_true", help="with open questions on the card")
    return parser


def _hub(settings: Mapping[str, str], *, public: bool) -> Hub | None:
    """Return the hub that the settings name; None without `hub`.

    Raises ConfigError for a setting that says how to send, without a hub to send to.
    """
    of_hub = [*(settings.keys() & {"tag", "revision"}), *(["--public"] if public else [])]
    if "hub" not in settings:
        if of_hub:
            raise ConfigError(
                f"publish: {of_hub[0]} says how to send to a hub; add hub=ADDRESS, or leave it out"
            )
        return None

    revision, tag = settings.get("revision"), settings.get("tag")
    return open_hub(settings["hub"], revision=revision, tag=tag, public=public)


def _lines(name: str) -> list[str]:
    """Return the lines of a file that are not empty; raise ConfigError if there are none."""
    try:
        lines = [line for line in Path(name).read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError):
        lines = []
    if not lines:
        raise ConfigError(
            f"publish: canaries={name} is no file with text; give one with a string a line"
        )
    return lines
