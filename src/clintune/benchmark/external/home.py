"""Where peers are: their scripts come with clintune, each library has an environment of its own."""

import os
from pathlib import Path

from clintune.config.places import config_root

_ROOM = Path(__file__).parent
RUN = _ROOM / "scripts" / "run.py"
_CODE = [_ROOM / name for name in ("methods.py", "rows.py", "images.py", "weights.py")]
_CODE += [_ROOM.with_name("held_out.py"), _ROOM.with_name("baselines") / "features.py"]


def peer_python(name: str) -> Path | None:
    """Return the Python that has a peer, None where it is not installed.

    It is that of CLINTUNE_PEERS/NAME where the variable is set, else of `.venv-NAME`.
    """
    own = os.environ.get("CLINTUNE_PEERS")
    folder = Path(own).expanduser() / name if own else config_root() / f".venv-{name}"
    # Links are kept: a Python knows its environment by where it was called.
    python = folder.absolute() / "bin" / "python"
    return python if python.exists() else None


def not_installed(name: str) -> str:
    """Return in one line what to do about a peer that is not there."""
    return f"{name}: not installed; run scripts/peers/venv {name}"


def peer_script(name: str) -> Path:
    """Return the script that a peer's own Python runs."""
    return RUN.with_name(f"{name}.py")


def peer_files(name: str) -> list[Path]:
    """Return the code on which a peer's result depends."""
    return [*_CODE, RUN, peer_script(name)]
