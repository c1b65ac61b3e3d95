"""Find secrets in a config: recipes are kept in run folders and shown, so they may hold none."""

import re
from collections.abc import Iterator
from typing import Any

from clintune.storage.remote import has_secret, is_remote, redact

_SECRET = re.compile("key|secret|token|passw|pwd|credential|connection_string|auth", re.IGNORECASE)
_INSTEAD = (
    "set it in the environment (AWS_ACCESS_KEY_ID and such) "
    "or the protocol's own file (~/.aws, ~/.netrc)"
)


def secrets(config: dict[str, Any]) -> Iterator[str]:
    """Yield a problem for each possible secret in the root or storage of a cohort."""
    for name, cohort in config["cohorts"].items():
        where = f"cohorts.{name}"
        if is_remote(str(cohort["root"])) and has_secret(cohort["root"]):
            yield (
                f"'{where}.root' holds a password or a query; "
                f"write {redact(cohort['root'])} and {_INSTEAD}"
            )
        storage = cohort["storage"] or {}
        if not isinstance(storage, dict):
            yield (
                f"'{where}.storage' is {storage!r}; "
                "give a mapping, as {endpoint_url: https://minio.example}"
            )
            continue

        for key in _secret_keys(storage):
            yield (
                f"'{where}.storage.{key}' looks like a secret, which would be kept in recipe.yaml; "
                f"{_INSTEAD}"
            )


def _secret_keys(storage: dict[str, Any]) -> Iterator[str]:
    """Yield the keys, at any depth, whose name or value may be a secret."""
    for key, value in storage.items():
        if isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in _secret_keys(value))

        is_harmless = value is None or isinstance(value, bool) or value == "anon"
        named = _SECRET.search(str(key)) and not is_harmless
        if named or (isinstance(value, str) and is_remote(value) and has_secret(value)):
            yield str(key)
