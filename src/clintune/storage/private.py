"""Who may read what is written: its owner alone, and a group where it shares the cache."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OTHERS = 0o007
_ALL_BUT_OWNER = 0o077
_GROUP = 0o2770
"""Mode of a folder that its group reads and writes, and whose group all folders below inherit."""

_has_own_umask = False
"""Whether this process has its umask from `private_files`.

The umask of a library's caller belongs to the caller.
"""


@contextmanager
def private_files() -> Iterator[None]:
    """Let nobody but the owner read what the block writes (umask 0077).

    This is for the command line alone. The umask belongs to the whole process, so a library must
    not change it. What clintune makes for its caller stands in folders that only their owner may
    enter, whatever the umask.
    """
    global _has_own_umask
    before, _has_own_umask = (os.umask(_ALL_BUT_OWNER), _has_own_umask), True
    try:
        yield
    finally:
        umask, _has_own_umask = before
        os.umask(umask)


def share_with_group(folder: Path) -> None:
    """Let the group of a folder read and write it, and what the command line writes from now on."""
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(_GROUP)
    if _has_own_umask:
        os.umask(_OTHERS)


def how_to_close(folder: Path, *, shared: bool = False) -> str | None:
    """Return the command that closes a folder of folders to all but its owner, or its group.

    None where it is closed already: the folder itself, or each folder in it.
    """
    beyond = _OTHERS if shared else _ALL_BUT_OWNER
    parts = [part for part in folder.iterdir() if part.is_dir()]
    root, *below = (part.stat().st_mode & beyond for part in (folder, *parts))

    # One closed door is enough: that of the folder, or those of all folders in it.
    if not root or not any(below):
        return None
    return f"chmod -R {'o' if shared else 'go'}-rwx {shlex.quote(str(folder))}"
