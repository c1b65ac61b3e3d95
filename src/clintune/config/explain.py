"""Translate errors of Hydra and OmegaConf into one line with a remedy."""

import re
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches

from hydra.errors import MissingConfigException

from clintune.config.recipe_file import groups, unknown_choice
from clintune.config.schema import Cohort, Config
from clintune.config.suggest import in_words, nearest
from clintune.config.wording import misfit
from clintune.core.text import visible


def explain(error: BaseException, keys_below: Callable[[str], Iterable[str]]) -> str:
    """Return what is wrong with a config, and the remedy.

    `keys_below` returns the keys of a section by its dotted name; '' is the top.
    """
    chain = _chain(error)
    text = "\n".join(str(link) for link in chain)

    # A choice of the defaults list that does not exist.
    missing = next((link for link in chain if isinstance(link, MissingConfigException)), None)
    if missing is not None:
        return _missing_choice(missing.missing_cfg_file or "", keys_below)

    # A key that does not exist, or a value that does not fit its key.
    found = re.search(r"full_key: (\S+)", text)
    key = found.group(1) if found else None
    if key and re.search(r"Key '[^']*' (is )?not in|not in struct", text):
        return _unknown_key(key, keys_below)
    if "is not Optional" in text:
        return f"'{key}' is null; give a value"
    if wrong := re.search(r"Environment variable '(.*?)' not found", text):
        return (
            f"'{key}' asks for the environment variable {wrong[1]}, which is not set; "
            "set it, or give the value"
        )
    if wrong := re.search(r"Interpolation key '(.*?)' not found", text):
        return f"'{key}' asks for ${{{wrong[1]}}}, which does not exist; correct it"
    if any(type(link).__name__ == "GrammarParseError" for link in chain):
        return (
            f"'{key}' holds ${{, which begins a reference to another key; "
            f"close it with }}, or write \\${{ for itself"
        )
    if key and "." not in key and "is not a subclass of Cohort" in text:
        return f"'cohorts.{key}' cannot be added by an override; write it in a recipe of your own"
    if key and (said := misfit(key, text)):
        return said

    # An override whose sign (~ or +) does not fit the recipe.
    if wrong := re.search(r"Could not delete (?:from config\. )?'(.*?)'", text):
        return (
            f"'{wrong[1]}' cannot be taken away with ~: "
            "it is none of the recipe's own choices or entries"
        )
    if wrong := re.search(r"Could not append.*?'(.*?)'", text):
        return f"'{wrong[1]}' is chosen already; write it without the +"
    if wrong := re.search(r"Could not override '([^']+)'", text):
        return _not_chosen(wrong[1], text, keys_below)

    line = first_line(chain[-1] if key else error)
    return f"'{key}': {line}" if key else line


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    lines = (line.strip() for line in str(error).splitlines() if line.strip())
    line = next(lines, type(error).__name__)
    return visible(re.sub(r"^In '[^']*': ", "", line))


def _missing_choice(file: str, keys_below: Callable[[str], Iterable[str]]) -> str:
    """Say that there is no file of a choice; `file` is its path below `configs`."""
    if file.startswith("cohort/") and "/" in (path := file.removeprefix("cohort/")):
        return _path_of_a_cohort(path, keys_below("cohorts"))
    group, _, choice = file.rpartition("/")
    return unknown_choice(group, choice)


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def _unknown_key(key: str, keys_below: Callable[[str], Iterable[str]]) -> str:
    parent, _, last = key.rpartition(".")
    hint = _hint_of_home(key, keys_below("")) or nearest(last, keys_below(parent))
    return f"key '{key}' does not exist{hint}"


def _hint_of_home(key: str, tops: Iterable[str]) -> str | None:
    """Return a hint at the full key for one without its section, or with a slash; else None."""
    sections = [(i.name, i.type) for i in fields(Config) if is_dataclass(i.type) and i.name in tops]
    homes = {f"{name}.{item.name}" for name, kind in sections for item in fields(kind)}
    whole = sorted(
        home for home in homes if key in (home.replace(".", "/"), home.partition(".")[2])
    )

    # The keys of a cohort stand below the name of the cohort.
    if key.removeprefix("cohorts.") in {item.name for item in fields(Cohort)}:
        whole.append(f"cohorts.NAME.{key.removeprefix('cohorts.')}")
    names = in_words(f"'{name}'" for name in whole) if whole else ""
    return f"; did you mean {names}?" if names else None


def _path_of_a_cohort(path: str, cohorts: Iterable[str]) -> str:
    """Say how to name the folder of a cohort that was given in place of a choice."""
    choice = "" if "meds" in cohorts else "cohort=[meds] "
    return f"'cohort' is the path {visible(path)}; write {choice}cohorts.meds.root={visible(path)}"


def _not_chosen(name: str, text: str, keys_below: Callable[[str], Iterable[str]]) -> str:
    """Say that the recipe has no such key, or has not chosen from such a group."""
    group = name.partition("@")[0]
    if group not in groups():
        known = (
            [*keys_below(""), *groups()] if get_close_matches(name, groups()) else keys_below("")
        )
        hint = _hint_of_home(name, keys_below("")) or nearest(name, known)
        return f"key '{name}' does not exist{hint}"

    near = re.search(r"Did you mean to override (\S+?)\?", text)
    hint = f"; did you mean '{near[1]}'? To" if near else "; to"
    return f"the recipe chooses no '{name}'{hint} add it, write +{name}=CHOICE"
