"""What a run must have before it may leave: an evaluation of the very packages that leave."""

import json
from collections.abc import Sequence
from pathlib import Path

from clintune.core.errors import PackageError
from clintune.core.files import file_sha256
from clintune.hub.manifest import MANIFEST, local_manifest


def check_evaluated(run: Path, members: Sequence[Path]) -> None:
    """Raise PackageError for packages that changed, or that metrics.json was not computed from."""
    again = f"run `clintune evaluate {run}` first"
    path = run / "metrics.json"
    if not path.is_file():
        raise PackageError(f"{run}: not evaluated; {again}")
    evaluated = json.loads(path.read_text(encoding="utf-8")).get("packages", {})
    for member in members:
        local_manifest(member)
        if evaluated.get(member.relative_to(run).as_posix()) != file_sha256(member / MANIFEST):
            raise PackageError(f"{path}: is of another package than {member}; {again}")
