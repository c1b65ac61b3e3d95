"""Read KEY=VALUE as people type it, for all verbs.

The grammar is Hydra's; `hydra.core` holds it for plugins too. Text that it does not take, such as
a path with ~ or =, is quoted for it.
"""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from clintune.config.recipe_file import groups
from clintune.config.schema import Config, Scoring
from clintune.config.suggest import in_words, nearest
from clintune.core.errors import ConfigError
from clintune.core.text import visible

_WORD = re.compile(r"(?P<key>(\+\+|\+|~)?[^\s=]+)=(?P<value>.*)", re.DOTALL)
_SECTIONS = frozenset(item.name for kind in (Config, Scoring) for item in fields(kind))
_GRAMMAR = re.compile(
    r"""[\[{('"]|(bool|choice|float|glob|int|interval|range|shuffle|sort|str|tag)\("""
)
"""How a list, a mapping, a quoted text or a function of Hydra's begins: none is plain text."""


def read_overrides(words: Sequence[str]) -> list[str]:
    """Return overrides for Hydra, each with one value.

    Raises ConfigError for a word that is no override, for several values, and for Hydra's own keys.
    """
    overrides = []
    for word in words:
        override, text = _one_value(word)
        _check_choice(override)
        overrides.append(text)
    return overrides


def is_key(override: str) -> bool:
    """Return whether an override gives a key its value: it adds, removes and chooses nothing."""
    key = override.partition("=")[0]
    return key[:1] not in ("+", "~") and "." in key and "@" not in key


def read_texts(
    verb: str, words: Sequence[str], known: Collection[str], otherwise: str = "does not exist"
) -> dict[str, str]:
    """Return the text that each word of a verb gives to one of its `known` keys.

    Raises ConfigError for a word that is no override, for an empty text, and for an unknown key, of
    which the message says `otherwise`.
    """
    texts = {}
    for word in words:
        override, _ = _parse(word, several=False)
        key, _, value = word.partition("=")
        if key not in known:
            raise ConfigError(f"{verb}: key '{visible(key)}' {otherwise}{nearest(key, known)}")

        text = override.value()
        texts[key] = text if isinstance(text, str) else value
        if not texts[key].strip():
            raise ConfigError(f"{verb}: '{key}' is empty; give a value, or leave it out")
    return texts


def set_keys(config: DictConfig, words: Sequence[str]) -> None:
    """Set keys of a config, each by an override.

    Raises ConfigError as `read_overrides` does, and for words that add or remove a key. Raises
    OmegaConfBaseException for a key that the config lacks, and for a value that does not fit.
    """
    for word in words:
        override, _ = _one_value(word)
        if override.type is not OverrideType.CHANGE:
            raise ConfigError(
                f"'{visible(word)}' is no KEY=VALUE; give a key that is there its value"
            )
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)


def sweep(words: Sequence[str]) -> list[list[str]]:
    """Return one list of overrides per job: the product of all values, as `hydra -m` makes it.

    Raises ConfigError as `read_overrides` does, and for a word whose values cannot be listed.
    """
    choices = {}
    for word in words:
        override, text = _parse(word, several=True)
        texts = _each_value(override) if override.is_sweep_override() else [text]
        if not texts:
            raise ConfigError(f"override '{visible(word)}' lists no values; write it as KEY=A,B")
        choices[override.get_key_element()] = texts
    return [list(job) for job in product(*choices.values())]


def quoted(text: str) -> str:
    """Return text in quotes, its own quotes escaped: Hydra's grammar takes any text so."""
    return str(QuotedString(text, Quote.single).with_quotes())


def _one_value(word: str) -> tuple[Override, str]:
    """Return a word as `_parse` does; raise ConfigError if it gives several values."""
    override, text = _parse(word, several=False)
    if override.is_sweep_override():
        raise ConfigError(
            f"override '{visible(word)}' gives several values: add -m (`clintune train -m`) to "
            "train one run a value, write a list as [a,b], or quote a text that has commas: "
            f'"{_quoted(word)}"'
        )
    return override, text


def _each_value(override: Override) -> list[str]:
    """Return KEY=VALUE of each value; none of an interval, or of a glob."""
    key = override.get_key_element()
    with suppress(HydraException):
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return []


def _check_choice(override: Override) -> None:
    """Raise ConfigError for a choice of a group that is neither a name nor a list of names."""
    key = override.key_or_group
    known = groups()
    if key not in known or override.is_delete() or isinstance(override.value(), str | list):
        return

    _, _, value = str(override.input_line).partition("=")
    keys = f", or set one of its keys, as {key}.KEY=VALUE" if key in _SECTIONS else ""
    raise ConfigError(f"'{key}' is {visible(value)}; name a choice ({in_words(known[key])}){keys}")


def _parse(word: str, *, several: bool) -> tuple[Override, str]:
    """Return a word as Hydra reads it, and the text that it reads.

    The text is the word itself, or the word with its value quoted.
    """
    parser = OverridesParser.create()
    in_quotes = _quoted(word, several=several)

    # Hydra drops spaces around a value without quotes, so such a value is quoted at the first try.
    drops_a_space = re.search(r"=\s|\s$", word) is not None
    for text in (in_quotes, word) if drops_a_space else (word, in_quotes):
        try:
            override = parser.parse_override(text)
        except HydraException:
            continue
        if not override.key_or_group:
            break

        _check_effect(override, word)
        return override, text
    raise ConfigError(f"override '{visible(word)}' {_wrong(word)}")


def _check_effect(override: Override, word: str) -> None:
    """Raise ConfigError for an override that Hydra reads but that cannot have the wanted effect."""
    if override.is_delete() and override.key_or_group in _SECTIONS:
        raise ConfigError(
            f"override '{visible(word)}': a section cannot be taken away; set its keys"
        )
    if override.value() == {}:
        raise ConfigError(
            f"override '{visible(word)}' changes nothing; take away entries, as ~tasks.NAME"
        )
    if re.match(r"hydra(\.|/|@|$)", override.key_or_group):
        raise ConfigError(
            f"override '{visible(word)}': Hydra's own keys have no effect here; leave it out"
        )


def _quoted(word: str, *, several: bool = False) -> str:
    """Return KEY=VALUE with its value quoted, with `several` each value by itself.

    A word that is no KEY=VALUE, or needs no quotes, stays as it is.
    """
    match = _WORD.fullmatch(word)
    if match is None or _GRAMMAR.match(match["value"]):
        return word
    values = match["value"].split(",") if several else [match["value"]]
    return f"{match['key']}={','.join(map(quoted, values))}"


def _wrong(word: str) -> str:
    """Say what is wrong with a word that Hydra cannot read."""
    key, equals, _ = word.partition("=")
    if not equals or key != key.strip() or not key:
        return "is no KEY=VALUE; write both as one word, without spaces around ="
    if not re.fullmatch(r"(\+\+|\+|~)?[\w.@/-]+", key, re.ASCII):
        return (
            "has a key that cannot be typed; "
            "use letters, digits, _ and dots, or set it in the recipe"
        )
    return "cannot be read; close brackets and quotes, and quote text: 'KEY=\"TEXT\"'"
