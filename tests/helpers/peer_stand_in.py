"""The environment of a peer, in which this Python runs another script in the peer's place."""

import sys
from pathlib import Path


def stand_in(folder: Path, name: str, script: str) -> None:
    """Make the environment `folder`/peers/`name`; its peer is a script with a function `fit`."""
    path = folder / f"{name}.py"
    path.write_text(f"PACKAGE = 'scikit-learn'\n{script}")
    python = folder / "peers" / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "$2" "{path}" "$4"\n')
    python.chmod(0o755)
