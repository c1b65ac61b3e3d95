"""What checks find: checks yield problems, and a caller raises the first or shows all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clintune.core.errors import ClintuneError, ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Problem:
    """A thing that is wrong: where it stands, what it is, and how to mend it.

    `where` is a file, with a row where one is known, or a key of a config. Like the errors, a
    problem is one line and holds no patient data.
    """

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


def raise_first(problems: Iterable[Problem], error: type[ClintuneError] = DataError) -> None:
    """Raise the first problem as an `error`; the check behind it goes no further."""
    for problem in problems:
        raise error(str(problem))


def raise_all(where: str, problems: Sequence[Problem | str]) -> None:
    """Raise one ConfigError that names all problems, if there are any."""
    if problems:
        raise ConfigError(f"{where}: " + "; and ".join(map(str, problems)))
