"""Columns whose names are near to those of MEDS: such a slip would lose all their values."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from meds.schema import DataSchema

_SAID_OTHERWISE: dict[str, set[str]] = {
    DataSchema.subject_id_name: {"subject", "patientid", "patient", "pid", "personid", "id"},
    DataSchema.time_name: {"timestamp", "datetime", "date", "charttime", "eventtime"},
    DataSchema.code_name: {"codes", "concept", "conceptid", "event", "itemid"},
    DataSchema.numeric_value_name: {
        *("value", "values", "val", "numeric", "number", "valuenum", "valuenumeric"),
        *("valuenumber", "valueasnumber", "numvalue", "numval"),
    },
    DataSchema.text_value_name: {
        "text",
        "texts",
        "textval",
        "valuetext",
        "valueastext",
        "txtvalue",
    },
}
"""Other names for the columns of MEDS, as `_plain` returns them."""
_ALIKE = 0.85
"""The likeness of two names above which one is a slip of the other: `numeric_vlaue`."""


def near_name(wanted: str, columns: Iterable[str]) -> str | None:
    """Return the first of some columns whose name says the same as `wanted`, or nearly does.

    Case, spaces and signs do not count. Returns None where no name is near.
    """
    plain = {_plain(column): column for column in reversed(list(columns))}
    for name in (_plain(wanted), *sorted(_SAID_OTHERWISE.get(wanted, ()))):
        if name in plain:
            return plain[name]
    close = get_close_matches(_plain(wanted), plain, n=1, cutoff=_ALIKE)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()
