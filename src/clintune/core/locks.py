"""Work that one process does and all others wait for, on any node that shares the folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from clintune.core.console import console

_POLL_SECONDS = 0.2


def lock_of(path: Path) -> Path:
    """Return the lock file that guards `path`."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def only_one(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock that guards `path` while `what` is made there; yield whether it had to be waited for.

    Who waits says once who holds the lock. The lock of a process that dies is gone with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(lock_of(path)), path.with_name(f"{path.name}.holder")
    waited = False
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waited = True
        console.print(f"waiting for {_read(holder)}, which prepares {what}")
        lock.acquire(poll_interval=_POLL_SECONDS)
    try:
        holder.write_text(f"{socket.gethostname()} (process {os.getpid()})", encoding="utf-8")
        yield waited
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Hold the lock that guards `path` unless somebody else does; yield whether it is held."""
    lock = FileLock(lock_of(path))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _read(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"  # it has only just begun, or ended
