"""Where the members of an ensemble stand."""

from pathlib import Path

from clintune.core.errors import PackageError
from clintune.hub.manifest import MANIFEST
from clintune.package.contents import ABOUT


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
    """Return the folders of the members that a package holds, in order: itself, or `member-N` of an ensemble."""
    if (folder / ABOUT).is_file():
        return [folder]
    return sorted(folder.glob("member-*/"), key=lambda path: (len(path.name), path.name))
