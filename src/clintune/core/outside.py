"""Errors that come from outside: the machine, its packages and files, not a fault of ours.

Their kinds are known to hold nothing of a patient, so they are told in words, with a remedy.
"""

import errno
import json
import os
import re
import resource
import select
import traceback
from pathlib import Path

from clintune.core.errors import ClintuneError
from clintune.core.extras import how_to_install
from clintune.core.files import storage_reason
from clintune.core.text import visible

_PATHS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_OURS = frozenset(
    {".yaml", ".yml", ".json", ".jsonl", ".safetensors", ".html", ".md", ".log", ".lock", ".arrow"}
)
"""Endings of files that clintune writes: the name of any other may be that of a patient's picture or recording."""
_MEMORY = re.compile(
    r"(?:cannot|can't|failed to|unable to|not enough) (?:allocate|map segment|memory)|allocate memory|out of memory"
    r"|bad_alloc|failed to map segment|not enough memory",
    re.IGNORECASE,
)
_THREADS = re.compile(
    "can't start new thread|thread creation failed|Resource temporarily unavailable", re.IGNORECASE
)
_STDOUT, _STDERR = 1, 2
_TIGHT = 16e9
"""Bytes of address space below which `ulimit -v` may stop torch and polars, which map more than they use."""


def in_words(error: BaseException) -> str:
    """Return what is known to hold nothing of a patient: the words of our own errors and these, else the kind alone."""
    if isinstance(error, ClintuneError):
        return str(error)
    return outside_reason(error) or type(error).__name__


def outside_reason(error: BaseException) -> str | None:
    """Return what the machine, its packages or files did, where, and what to do; None for a fault of ours."""
    return next((reason for link in _chain(error) if (reason := _reason(link))), None)


def place(error: BaseException) -> str:
    """Return the file and line of the code in which an error arose."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


def reader_is_gone(error: BaseException) -> bool:
    """Return whether an error says only that nobody reads what is printed any more, as after `| head`."""
    return isinstance(error, BrokenPipeError) and any(map(_is_unread, (_STDOUT, _STDERR)))


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and what it says it came from, the first of all first."""
    chain: list[BaseException] = []
    while error is not None:
        chain.insert(0, error)
        error = error.__cause__
    return chain


def _reason(error: BaseException) -> str | None:
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error.name or "")
    if _is_memory(error):
        return _memory(error)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open; raise `ulimit -n`, or lower trainer.workers and cluster.processes"
    if isinstance(error, OSError | RuntimeError) and _THREADS.search(str(error)):
        return "no more threads or processes can be started; raise `ulimit -u`, or lower trainer.workers"
    if isinstance(error, _PATHS):
        return _path(error)
    if (storage := storage_reason(error, Path("/"))) is not None:
        return f"{_shown(error)}{storage} (in {place(error)})"
    if isinstance(error, ImportError):
        return f"a package cannot be loaded ({visible(error)}); install it again"
    if isinstance(error, json.JSONDecodeError):
        return f"a JSON file that {place(error)} reads is damaged (line {error.lineno}); restore it, or start anew"
    if isinstance(error, OSError):  # as of the network
        what = error.strerror or type(error).__name__
        return f"{_shown(error)}{visible(what)} in {place(error)}; see to it, and run the same command again"
    if isinstance(error, UnicodeDecodeError):
        return f"a text file that {place(error)} reads is not UTF-8; save it in that encoding"
    if (
        type(error).__name__ == "PanicException"
    ):  # of a library in Rust: polars, tokenizers, safetensors
        return f"a library gave up in {place(error)}; a file that it read may be damaged, or the library too old"
    return None


def _missing_module(name: str) -> str | None:
    top = name.partition(".")[0]
    return (
        None
        if top in ("", "clintune")
        else f"the Python package {visible(top)} is missing; {how_to_install(top)}"
    )


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in (
        "OutOfMemoryError",
        "_ArrayMemoryError",
    ):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError | OSError | SystemError) and bool(
        _MEMORY.search(str(error))
    )


def _memory(error: BaseException) -> str:
    where = (
        "of the GPU " if type(error).__name__ == "OutOfMemoryError" or "CUDA" in str(error) else ""
    )
    limit = (
        f"`ulimit -v` allows {address_space() / 1e9:.1f} GB; lift it, or " if tight_memory() else ""
    )
    return (
        f"the memory {where}is used up in {place(error)}; {limit}lower trainer.micro_batch_size "
        "(predict: batch_size, shard_size) and trainer.workers, or ask for more memory"
    )


def address_space() -> float:
    """Return the bytes of address space that this process may have; infinity where nothing limits them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)


def tight_memory() -> bool:
    """Return whether `ulimit -v` leaves less address space than torch and polars may map."""
    return address_space() < _TIGHT


def _path(error: OSError) -> str:
    what = error.strerror or type(error).__name__
    return f"{_shown(error)}{what} in {place(error)}; correct the path, or its permissions"


def _shown(error: BaseException) -> str:
    """Return the path that an error names, if it is one of ours, ready to begin a message."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | bytes):
        return ""
    path = Path(os.fsdecode(name))
    return f"{visible(path)}: " if path.suffix in _OURS else "a file or folder: "


def _is_unread(descriptor: int) -> bool:
    """Return whether a descriptor is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
