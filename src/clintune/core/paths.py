"""Names that become parts of paths, and the folders in which results are written."""

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile

from clintune.core.errors import ClintuneError, ConfigError
from clintune.core.text import visible

_TAKEN = {"training": "is torch's own word", "mean": "stands for the mean of all tasks"}
"""Names that no task or modality can have, each with the reason."""
_LONGEST = 200
"""The longest name in bytes; what is written beside it still fits a file system's 255."""
_PRIVATE = 0o700
"""The mode of folders of patients' data: only their owner enters, whatever the umask."""


def name_problem(name: str, *, nested: bool = False, hidden: bool = False) -> str | None:
    """Return what is wrong with a name that becomes part of a path; None where nothing is.

    `nested` allows slashes, as in `mortality/icu`. `hidden` allows parts that begin with a dot, as
    the names of files that are being written do. What is wrong is so on every system.
    """
    # The first problem is reported.
    parts = PurePosixPath(name).parts
    problem = None

    if not name or not name.strip():
        problem = "is empty"
    elif visible(name) != name or "\\" in name:
        problem = "holds a hidden character or a backslash"
    elif len(parts) != name.count("/") + 1 or {".", "..", "/"} & {*parts, *name.split("/")}:
        problem = "leaves its folder, or holds an empty part"
    elif not hidden and any(part.startswith(".") for part in parts):
        problem = "begins with a dot, or a part of it does, which hides files"
    elif len(parts) > 1 and not nested:
        problem = "holds a slash"
    elif max(len(part.encode()) for part in parts) > _LONGEST:
        problem = f"is longer than {_LONGEST} bytes"
    return None if problem is None else f"'{visible(name)[:_LONGEST]}' {problem}"


def check_name(
    name: str,
    what: str,
    error: type[ClintuneError] = ConfigError,
    *,
    nested: bool = False,
    hidden: bool = False,
) -> str:
    """Return a name that becomes part of a path, if it is visible and stays inside its folder.

    `what` says where the name comes from. Raises `error` as `name_problem` says.
    """
    problem = name_problem(name, nested=nested, hidden=hidden)
    if problem is not None:
        raise error(f"{what} {problem}; use another name")
    return name


def check_part_name(name: str, what: str, error: type[ClintuneError] = ConfigError) -> str:
    """Return the name of a task or modality, which also stands in keys and names of tensors.

    Raises `error` as `check_name` does, and for a name that holds a dot or has another meaning.
    """
    check_name(name, what, error)
    problem = "holds a dot, which divides keys" if "." in name else _TAKEN.get(name)
    if problem is not None:
        raise error(f"{what} '{name}' {problem}; use another name")
    return name


def inside(root: Path, name: str, what: str, error: type[ClintuneError] = ConfigError) -> Path:
    """Return the path `root/name` for a name that comes from a recipe, package or cohort.

    Raises `error` where the name leaves `root`. Links within `root` are the owner's own and may
    lead anywhere.
    """
    return root / check_name(name, what, error, nested=True)


def writable_folder(path: str, key: str) -> Path:
    """Make the folder that `key` of the config names, with its parents; its owner alone enters it.

    Raises ConfigError where nothing can be written.
    """
    folder = Path(path).expanduser()
    if "\n" in path:
        raise ConfigError(f"{key}: '{visible(path)}' holds a line break; name another folder")

    try:
        folder.mkdir(_PRIVATE, parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"{key}: {folder} cannot be written to ({error.strerror}); name another folder"
        ) from error
    return folder


def timed_folder(parent: Path) -> Path:
    """Make a folder named by the time in UTC, which only its owner enters.

    A second folder within the same second gets -1, then -2, and so on.
    """
    parent.mkdir(_PRIVATE, parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        folder = parent / (f"{stamp}-{number}" if number else stamp)
        try:
            folder.mkdir(_PRIVATE)
        except FileExistsError:
            number += 1
        else:
            return folder
