"""Errors that come from outside: from the machine, its packages and files, not from clintune.

These kinds are known to hold nothing of a patient. So they are reported in words, with a remedy.
"""

import errno
import json
import os
import re
import resource
import select
import sys
import sysconfig
import traceback
from pathlib import Path

from clintune.core.errors import ClintuneError
from clintune.core.extras import has_extra, how_to_install
from clintune.core.files import storage_reason
from clintune.core.text import visible

_PATHS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_OWN_ENDINGS = frozenset(
    {".yaml", ".yml", ".json", ".jsonl", ".safetensors", ".html", ".md", ".log", ".lock", ".arrow"}
)
"""Endings of files that clintune writes; other names may be those of a patient's media files."""
_MEMORY = re.compile(
    r"(?:cannot|can't|failed to|unable to|not enough) (?:allocate|map segment|memory)"
    r"|allocate memory|out of memory|bad_alloc|failed to map segment|not enough memory",
    re.IGNORECASE,
)
_THREADS = re.compile(
    "can't start new thread|thread creation failed|Resource temporarily unavailable", re.IGNORECASE
)
_TOO_MANY_FILES = (
    "too many files are open; raise `ulimit -n`, or lower trainer.workers and cluster.processes"
)
_TOO_MANY_THREADS = (
    "no more threads or processes can be started; raise `ulimit -u`, or lower trainer.workers"
)
_OF_WORKER = "Original Traceback"
_FRAME = re.compile(r'File "([^"]+\.py)", line (\d+)')
_CLINTUNE, _STDLIB = Path(__file__).parents[1], Path(sysconfig.get_path("stdlib"))
_INSTALLED = {"site-packages", "dist-packages"}
"""Names of the folders of installed packages."""
_IMPORTS_CLINTUNE = re.compile(r"^\s*(?:from|import)\s+clintune\b", re.MULTILINE)
_STDOUT, _STDERR = 1, 2
_TIGHT = 16e9
"""Bytes of address space below which `ulimit -v` may stop torch and polars.

They map more memory than they use.
"""


def in_words(error: BaseException) -> str:
    """Return the words of an error that is known to hold nothing of a patient, else its kind alone.

    The words are known for the errors of clintune and for those of `outside_reason`; one in the
    user's own module is told by its place.
    """
    if isinstance(error, ClintuneError):
        return own_words(error)
    return outside_reason(error) or users_fault(error) or type(error).__name__


def own_words(error: ClintuneError) -> str:
    """Return what clintune says of an error; of one in a worker, without the worker's traceback."""
    text = str(error)
    if _OF_WORKER in text:
        return text.rstrip().rpartition("\n")[2].partition(": ")[2]
    return text


def outside_reason(error: BaseException) -> str | None:
    """Return what the machine, its packages or files did, where, and the remedy.

    None stands for a fault of clintune.
    """
    return next((reason for link in _chain(error) if (reason := _reason(link))), None)


def place(error: BaseException) -> str:
    """Return the file and line of the code that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


def users_fault(error: BaseException) -> str | None:
    """Return `FILE:LINE: TYPE` of the innermost frame in a module of the user's own; else None.

    Where that frame called code that raised the error, the place in that code follows.
    """
    for link in _chain(error):
        frames = _frames(link)
        own = [number for number, (file, _) in enumerate(frames) if _is_users(file)]
        if own:
            file, line = frames[own[-1]]
            inside = f" in {place(link)}" if own[-1] < len(frames) - 1 else ""
            return f"{_short(file)}:{line}: {type(link).__name__}{inside}"
    return None


def reader_is_gone(error: BaseException) -> bool:
    """Return whether an error only says that nobody reads the output, as after `| head`."""
    return isinstance(error, BrokenPipeError) and any(map(_is_unread, (_STDOUT, _STDERR)))


def _frames(error: BaseException) -> list[tuple[str, int]]:
    """Return file and line of each frame of an error, the innermost last, without those of imports.

    The frames in a worker that reads batches stand in the text of the error. A file that is no
    Python is where it says so.
    """
    frames = [
        (part.filename, part.lineno or 0) for part in traceback.extract_tb(error.__traceback__)
    ]
    if _OF_WORKER in (text := str(error)):
        frames += [(file, int(line)) for file, line in _FRAME.findall(text)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 0))
    return [(file, line) for file, line in frames if not file.startswith("<")]


def _is_users(file: str) -> bool:
    """Return whether a file is a module of the user's own, neither of clintune nor of Python.

    An installed one imports clintune, which no library does.
    """
    path = Path(file)
    if not path.is_file() or path.is_relative_to(_CLINTUNE):
        return False
    if _INSTALLED.isdisjoint(path.parts):
        return not path.is_relative_to(_STDLIB)
    return _IMPORTS_CLINTUNE.search(path.read_text(encoding="utf-8", errors="replace")) is not None


def _short(file: str) -> str:
    """Return the path of a module below the folder where Python found it."""
    homes = [home for home in sys.path if home and Path(file).is_relative_to(home)]
    return visible(Path(file).relative_to(max(homes, key=len)) if homes else Path(file).name)


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and all its causes, the first cause first."""
    chain: list[BaseException] = []
    while error is not None:
        chain.insert(0, error)
        error = error.__cause__
    return chain


def _reason(error: BaseException) -> str | None:
    """Return what happened outside and the remedy; None for an error of another kind."""
    # The kinds overlap, so the order matters: the narrow ones come first.
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error.name or "")
    if _is_memory(error):
        return _memory_reason(error)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return _TOO_MANY_FILES
    if isinstance(error, OSError | RuntimeError) and _THREADS.search(str(error)):
        return _TOO_MANY_THREADS

    # Files and disks.
    if isinstance(error, _PATHS):
        return _path_reason(error)
    if (storage := storage_reason(error, Path("/"))) is not None:
        return f"{_named_path(error)}{storage} (in {place(error)})"
    if isinstance(error, ImportError):
        if _is_of_module(error):
            return None
        return f"a package cannot be loaded ({visible(error)}); install it again"
    if isinstance(error, json.JSONDecodeError):
        return (
            f"a JSON file that {place(error)} reads is damaged (line {error.lineno}); "
            "restore it, or start anew"
        )
    if isinstance(error, OSError):  # such as an error of the network
        what = error.strerror or type(error).__name__
        return (
            f"{_named_path(error)}{visible(what)} in {place(error)}; see to it, "
            "and run the same command again"
        )
    if isinstance(error, UnicodeDecodeError):
        return f"a text file that {place(error)} reads is not UTF-8; save it in that encoding"

    # Libraries in Rust raise this: polars, tokenizers, safetensors.
    if type(error).__name__ == "PanicException":
        return (
            f"a library gave up in {place(error)}; a file that it read may be damaged, "
            "or the library too old"
        )
    return None


def _is_of_module(error: ImportError) -> bool:
    """Return whether a module itself is at fault, not a package that it needs.

    It raised another error while it was imported, or the user's module asks for a name that is not
    there.
    """
    if error.__cause__ is not None and not isinstance(error.__cause__, ImportError):
        return True
    frames = _frames(error)
    return str(error).startswith("cannot import name") and bool(frames) and _is_users(frames[-1][0])


def _missing_module(name: str) -> str | None:
    top = name.partition(".")[0]
    if top in ("", "clintune"):
        return None
    if has_extra(top):
        return f"the Python package {top} is missing; {how_to_install(top)}"

    # A package index may hold a stranger's package of the name of a module of the user's own.
    own = f"if {visible(top)}.py is yours, put it beside the recipe again (key `modules`)"
    return f"the Python module {visible(top)} is missing; {own}, else install what holds it"


def _is_memory(error: BaseException) -> bool:
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind in ("OutOfMemoryError", "_ArrayMemoryError"):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    may_say_so = isinstance(error, RuntimeError | ImportError | OSError | SystemError)
    return may_say_so and _MEMORY.search(str(error)) is not None


def _memory_reason(error: BaseException) -> str:
    is_of_gpu = type(error).__name__ == "OutOfMemoryError" or "CUDA" in str(error)
    where = "of the GPU " if is_of_gpu else ""
    limit = ""
    if tight_memory():
        limit = f"`ulimit -v` allows {address_space() / 1e9:.1f} GB; lift it, or "
    return (
        f"the memory {where}is used up in {place(error)}; {limit}lower trainer.micro_batch_size "
        "(predict: batch_size, shard_size) and trainer.workers, or ask for more memory"
    )


def address_space() -> float:
    """Return the bytes of address space that this process may have; infinity without a limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)


def tight_memory() -> bool:
    """Return whether `ulimit -v` leaves less address space than torch and polars may map."""
    return address_space() < _TIGHT


def _path_reason(error: OSError) -> str:
    what = error.strerror or type(error).__name__
    return f"{_named_path(error)}{what} in {place(error)}; correct the path, or its permissions"


def _named_path(error: BaseException) -> str:
    """Return the path that an error names, to begin a message; only a path of clintune is shown."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | bytes):
        return ""
    path = Path(os.fsdecode(name))
    return f"{visible(path)}: " if path.suffix in _OWN_ENDINGS else "a file or folder: "


def _is_unread(descriptor: int) -> bool:
    """Return whether a descriptor is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
