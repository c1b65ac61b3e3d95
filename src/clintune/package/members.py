"""Where the members of an ensemble stand."""

import re
from pathlib import Path

from clintune.core.errors import PackageError
from clintune.core.text import visible
from clintune.hub.manifest import MANIFEST
from clintune.package.contents import ABOUT

_MEMBER = re.compile(r"member-\d{1,4}", re.ASCII)


def member_folders(folder: Path, ensemble: int) -> list[Path]:
    """Return the folder of each member below `folder`: `folder` itself, or `member-N` for an ensemble."""
    return [folder] if ensemble == 1 else [folder / f"member-{member}" for member in range(ensemble)]


def trained_members(folder: Path, ensemble: int) -> list[Path]:
    """Return the packages of a run's members below `folder`.

    Raises PackageError when one is missing: an ensemble of fewer members would be another model.
    """
    members = member_folders(folder, ensemble)
    for member in members:
        if not (member / MANIFEST).is_file():
            raise PackageError(f"{member}: no package there; train the run to its end (clintune train --resume RUN)")
    return members


def members_found(folder: Path) -> list[Path]:
    """Return the folders of the members that a package holds, in order: itself, or `member-N` of an ensemble.

    Raises PackageError for a member that is a link, which could lead out of the package.
    """
    if (folder / ABOUT).is_file():
        return [folder]
    found = [path for path in folder.glob("member-*") if path.is_symlink() or path.is_dir()]
    for path in found:
        if path.is_symlink() or not _MEMBER.fullmatch(path.name):
            raise PackageError(visible(f"{path}: is no folder of a member; do not use the package"))
    return sorted(found, key=lambda path: (len(path.name), path.name))
