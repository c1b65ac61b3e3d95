"""The verb that lists or clears the cache. No torch."""

from collections.abc import Sequence
from pathlib import Path

from clintune.config.places import default_cache
from clintune.core.console import WIDEST, print_table
from clintune.core.errors import ConfigError
from clintune.core.text import visible
from clintune.storage import cache_folder
from clintune.storage.cache_entries import TAG, gigabytes, table
from clintune.storage.private import how_to_close
from clintune.verbs.arguments import Parser, days


def cache(argv: Sequence[str]) -> None:
    """List or clear the cache."""
    parser = Parser("cache", "List what is kept between runs, or clear it.")
    default = default_cache()
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        default=default,
        help=f"data.cache (default {default})",
    )
    parser.add_argument("--clear", action="store_true", help="remove what no process is using")
    parser.add_argument(
        "--older-than", type=days, metavar="DAYS", help="clear only what was not used for so long"
    )
    arguments = parser.parse_args(argv)

    # Refuse what is no cache.
    folder = Path(arguments.folder).expanduser()
    if arguments.older_than is not None and not arguments.clear:
        raise ConfigError("--older-than says what --clear removes; give both")
    if not folder.is_dir():
        raise ConfigError(f"cache {folder}: not a folder; give the `data.cache` of a recipe")
    if not (folder / TAG).exists():
        raise ConfigError(
            f"cache {folder}: no cache of clintune (it has no {TAG}); "
            "give the `data.cache` of a recipe"
        )

    if arguments.clear:
        gone, left = cache_folder.clear(folder, arguments.older_than or 0.0)
        print(f"freed {gigabytes(gone)} GB: {len(gone)} entries; {len(left)} are left")
        for entry, reason in left:
            print(f"stays: {entry.kind} {visible(entry.owner)}: {reason}")
        return

    print_table(table(folder), width=WIDEST)
    if closing := how_to_close(folder):
        print(
            "other users can read it; "
            f"close it with `{closing}`, unless its group shares it (data.shared)"
        )
