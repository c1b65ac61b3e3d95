"""The README of a package that is not published: what it is, and that nobody answers for it yet."""

from clintune.config.schema import Config
from clintune.core.text import markdown


def card(config: Config) -> str:
    """Return the README in Markdown; `clintune publish` writes the model card."""
    tasks, modalities = (
        ", ".join(map(markdown, names)) for names in (config.tasks, config.modalities)
    )
    return f"""# {markdown(config.name)}

Predicts {tasks} from {modalities}.

Unpublished: not checked for patient data, and without a model card. `clintune publish` does both.
"""
