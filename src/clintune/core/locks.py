"""Locks: one process does the work and all others wait, on any node that shares the folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from clintune.core.console import console
from clintune.core.errors import ConfigError
from clintune.core.files import storing

_POLL_SECONDS = 0.2


def lock_of(path: Path) -> Path:
    """Return the lock file that guards `path`."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock of `path` while `what` is made there; yield whether the lock was waited for.

    A process that waits says once who holds the lock. The lock of a process that dies is released.
    Raises StorageError where no lock can be written.
    """
    lock, waited = FileLock(lock_of(path)), False
    try:
        with storing(lock_of(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
    except Timeout:
        waited = True
        console.print(f"waiting for {_read_holder(_holder_of(path))}, which prepares {what}")
        lock.acquire(poll_interval=_POLL_SECONDS)

    with _holder_named(path, lock):
        yield waited


@contextmanager
def refused_if_held(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock of `path` while it is `doing`, as in "trained"; refuse where it is held.

    Raises ConfigError, which says who holds the lock and what is being done, and StorageError where
    no lock can be written. The lock of a process that dies is released.
    """
    lock, holder = FileLock(lock_of(path)), _holder_of(path)
    try:
        with storing(lock_of(path)):
            lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"{path.parent}: is being {_read_holder(holder)}; wait for its end, or stop it first"
        ) from None

    with _holder_named(path, lock, f"{doing} by "):
        yield


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of `path` unless another process does; yield whether it is held."""
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


@contextmanager
def _holder_named(path: Path, lock: FileLock, doing: str = "") -> Iterator[None]:
    """Let others read who holds a lock; release the lock at the end of the block."""
    holder = _holder_of(path)
    try:
        with storing(holder):
            holder.write_text(
                f"{doing}process {os.getpid()} of host {socket.gethostname()}", encoding="utf-8"
            )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def _read_holder(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"  # it has only just begun, or ended
