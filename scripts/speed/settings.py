"""What both sides of the benchmark share: one definition of data, parts and training."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

BACKBONES: dict[str, dict[str, Any]] = {
    "minilm": {},
    "qwen3-0.6b-sized": {
        "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
    },
    "qwen3-4b-sized": {
        "hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9728,
    },
}  # fmt: skip
"""Shapes of the random backbones; `minilm` is the bundled model and needs none."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run of either side; JSON-able, since each run has a process of its own."""

    folder: str
    """Holds what `prepare.py` wrote: the cohort, `samples.jsonl` and the weights."""
    text_model: str
    """Folder of the note encoder, and of its tokenizer."""
    backbone: str
    """Folder of the backbone."""
    backbone_dtype: str = "float32"
    quantize: str | None = None
    label: str = "deterioration"
    epochs: int = 5
    batch_size: int = 32
    """As in the recipes."""
    encoders: str = "frozen"
    """`frozen`, or `lora`: trained as well, so that nothing of them can be computed once."""
    precision: str = "fp32"
    chunk_tokens: int = 64
    overlap_tokens: int = 8
    max_chunks: int = 16
    max_images: int = 4
    image_size: int = 224
    regions: int = 0
    """g adds g x g tokens of regions to each image's one."""
    max_tokens: int = 256
    lora_r: int = 8
    lora_alpha: int = 16
    lora_targets: str | None = None
    """None is PEFT's choice for the architecture."""
    lr: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    workers: int = 2
    """Processes that load data for the plain loop."""
    seed: int = 0

    def change(self, **changes: Any) -> "Settings":
        """Return these settings with some changed."""
        return replace(self, **changes)

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Read settings from JSON."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
