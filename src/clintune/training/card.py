"""The README that training puts into a package: what it is, and that nobody has answered for it yet."""

from omegaconf import DictConfig


def card(config: DictConfig) -> str:
    """Return it in Markdown; `clintune publish` writes the model card."""
    return f"""# {config.name}

Predicts {", ".join(config.tasks)} from {", ".join(config.modalities)}.

Unpublished: not checked for patient data, and without a model card. `clintune publish` does both.
"""
