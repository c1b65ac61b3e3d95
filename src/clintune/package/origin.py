"""The origin of the weights of a part of a model, with a checksum of each file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of weights; `files` holds the SHA-256 of every file that is read, by name.

    `source` is None for a part without weights. `tokenizer` is the origin of a tokenizer that comes
    from elsewhere.
    """

    source: str | None = None
    revision: str | None = None
    sha256: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    tokenizer: "Origin | None" = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Origin":
        """Return the origin in the record that a modality or backbone keeps of its weights."""
        keys = ("source", "revision", "sha256", "files")
        known = {key: record[key] for key in keys if record.get(key)}
        tokenizer = record.get("tokenizer")
        return cls(**known, tokenizer=None if tokenizer is None else cls.of(tokenizer))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without empty ones."""
        values = {
            name: value for name, value in asdict(self).items() if value and name != "tokenizer"
        }
        if self.tokenizer is not None:
            values["tokenizer"] = self.tokenizer.to_dict()
        return {"source": None, **values}

    def differs(self, other: "Origin") -> str | None:
        """Return the first file that differs between both; None where nothing does.

        `weights` stands for a difference that only their checksum shows.
        """
        names = sorted(self.files.keys() | other.files.keys())
        changed = [name for name in names if self.files.get(name) != other.files.get(name)]
        if changed or self.sha256 != other.sha256:
            return changed[0] if changed else "weights"

        own, others = self.tokenizer or Origin(), other.tokenizer or Origin()
        return own.differs(others) if self.tokenizer or other.tokenizer else None
