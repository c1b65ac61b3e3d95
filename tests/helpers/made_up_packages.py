"""Small made-up packages: to a hub they are files and a manifest."""

import hashlib
import json
from pathlib import Path

FILES = {
    "README.md": b"---\nlibrary_name: clintune\n---\n# A card\n",
    "clintune.yaml": b"seed: 0\n",
    "member-0/parts.safetensors": b"first" * 4_000,
    "member-1/parts.safetensors": b"second" * 40_000,
}


def write_package(folder: Path, **changed: bytes) -> Path:
    """Write a package of FILES and `changed` ones (README.md as README_md)."""
    files = FILES | {name.replace("_md", ".md"): content for name, content in changed.items()}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "MANIFEST.json").write_text(
        json.dumps({name: digest(content) for name, content in files.items()})
    )
    return folder


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
