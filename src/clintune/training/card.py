"""The model card that stands in a package: what the run itself knows, and what only a person can say."""

from omegaconf import DictConfig


def card(config: DictConfig) -> str:
    """Return a model card in Markdown with the metadata block of the Hugging Face Hub."""
    tasks = ", ".join(config.tasks)
    return f"""---
library_name: clintune
tags: [clinical, multimodal, {config.adapter.mode}]
base_model: {config.backbone.source}
---
# {config.name}

Predicts {tasks} from {", ".join(config.modalities)} with {config.backbone.source} ({config.adapter.mode}).

- Trained on: {", ".join(config.cohorts)}
- Intended use, out of scope, limits: to be filled in by the authors before use.

For research. Not a medical device.
"""
