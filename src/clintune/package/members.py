"""The folders of the members of an ensemble, and the check that all members are alike."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clintune.core.errors import PackageError
from clintune.package.contents import ABOUT, Package
from clintune.package.manifest import MANIFEST
from clintune.package.short_text import in_short

_MEMBER = re.compile(r"member-\d{1,4}", re.ASCII)


def member_folders(folder: Path, ensemble: int) -> list[Path]:
    """Return the folder of each member: `folder` itself, or `member-N` below it for an ensemble."""
    if ensemble == 1:
        return [folder]
    return [folder / f"member-{member}" for member in range(ensemble)]


def trained_members(folder: Path, ensemble: int) -> list[Path]:
    """Return the packages of a run's members below `folder`.

    Raises PackageError when one is missing: an ensemble of fewer members would be another model.
    """
    members = member_folders(folder, ensemble)
    for member in members:
        if not (member / MANIFEST).is_file():
            raise PackageError(
                f"{member}: no package there; "
                "train the run to its end (clintune train --resume RUN)"
            )
    return members


def members_found(folder: Path) -> list[Path]:
    """Return the member folders of a package, in order: itself, or `member-N` of an ensemble.

    Raises PackageError for a member that is a link: it could lead out of the package.
    """
    if (folder / ABOUT).is_file():
        return [folder]
    found = [path for path in folder.glob("member-*") if path.is_symlink() or path.is_dir()]
    for path in found:
        if path.is_symlink() or not _MEMBER.fullmatch(path.name):
            raise PackageError(
                in_short(f"{path}: is no folder of a member; do not use the package")
            )
    return sorted(found, key=lambda path: (len(path.name), path.name))


def check_alike(members: Mapping[Path, Package]) -> None:
    """Raise PackageError where members, by their folders, differ in what they read or answer.

    All members get the same batch, and their answers are averaged by position.
    """
    # Compare each with the first.
    (first, package), *others = members.items()
    wanted = _read_and_answered(package)
    for folder, other in others:
        for what, found in _read_and_answered(other).items():
            if found != wanted[what]:
                problem = f"its {what} are not those of {first.name}; do not use the package"
                raise PackageError(in_short(f"{folder}: {problem}"))


def _read_and_answered(package: Package) -> dict[str, Any]:
    return {
        "tasks": package.config.tasks,
        "outputs": {name: task.output_names for name, task in package.tasks.items()},
        "modalities": package.config.modalities,
        "codes or channels": _without_numbers(dict(package.statistics)),
    }


def _without_numbers(value: Any) -> Any:
    """Return keys and texts of statistics, in order.

    The numbers of two members may differ in their last digits.
    """
    if isinstance(value, Mapping):
        return [(key, _without_numbers(part)) for key, part in value.items()]
    if isinstance(value, list):
        return [_without_numbers(part) for part in value]
    return value if isinstance(value, str) else None
