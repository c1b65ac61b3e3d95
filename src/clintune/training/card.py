"""The README that training puts into a package: what it is, and that nobody has answered for it yet."""

from clintune.config.schema import Config
from clintune.core.text import markdown


def card(config: Config) -> str:
    """Return it in Markdown; `clintune publish` writes the model card."""
    tasks, modalities = (
        ", ".join(map(markdown, names)) for names in (config.tasks, config.modalities)
    )
    return f"""# {markdown(config.name)}

Predicts {tasks} from {modalities}.

Unpublished: not checked for patient data, and without a model card. `clintune publish` does both.
"""
