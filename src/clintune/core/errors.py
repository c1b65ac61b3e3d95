"""The errors that clintune raises on purpose.

    ClintuneError
    ├── ConfigError (ValueError)     a recipe, key, override or verb that cannot be used
    ├── DataError (ValueError)       a table, row or media file that breaks the data contract
    ├── WeightsError (ValueError)    weights that are missing, changed or do not fit
    ├── PackageError (ValueError)    an adapter package that is incomplete, changed or not trusted
    ├── TrainingError (RuntimeError) a run that stopped itself rather than go on wrongly
    └── StorageError (OSError)       a disk that is full, read-only or failing
    StoppedError (BaseException)     work that a signal asked to stop, saved where it stands

Each message is one line that names the thing and the remedy and holds no patient data.
`clintune.cli` alone turns them into exit codes: 2 for the user's input, 128 + its number for a
signal, 1 for anything else.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import Signals


class ClintuneError(Exception):
    """Base of every error that clintune raises on purpose."""


class ConfigError(ClintuneError, ValueError):
    """A recipe, key, override or verb that cannot be used."""


class DataError(ClintuneError, ValueError):
    """A table, row or media file that breaks the data contract."""


class WeightsError(ClintuneError, ValueError):
    """Weights that are missing, changed or do not fit."""


class PackageError(ClintuneError, ValueError):
    """An adapter package that is incomplete, changed or not trusted."""


class TrainingError(ClintuneError, RuntimeError):
    """A run that stopped itself rather than go on wrongly."""


class StorageError(ClintuneError, OSError):
    """A disk that is full, read-only or failing."""


@contextmanager
def translate_errors(
    kind: type[ClintuneError], where: str, reason: Callable[[Exception], str | None]
) -> Iterator[None]:
    """Turn an error of a library into a `kind` that says `WHERE: REASON`.

    An error for which `reason` returns None is raised as it is, and so is one of clintune.
    """
    try:
        yield
    except ClintuneError:
        raise
    except Exception as error:
        if (why := reason(error)) is None:
            raise
        raise kind(f"{where}: {why}") from error


class StoppedError(BaseException):
    """Work that a signal asked to stop.

    What was done so far is saved, and the command `again` continues it. Like KeyboardInterrupt it
    can come at any line, so it is no Exception: no library takes it for an error of its own.
    """

    def __init__(self, signal: int, when: str = "", again: str | None = None) -> None:
        super().__init__(signal, when)
        self.signal = signal
        self.when = when
        self.again = again

    def __str__(self) -> str:
        remedy = f"go on with `{self.again}`" if self.again else "run the same command again"
        return f"stopped by {Signals(self.signal).name}{self.when}; {remedy}"
