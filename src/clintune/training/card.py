"""The README of a package that is not published: what it is, and that nobody answers for it yet."""

from clintune.config.schema import Config
from clintune.report.markdown import escape


def card(config: Config) -> str:
    """Return the README in Markdown; `clintune publish` writes the model card."""
    tasks, modalities = (
        ", ".join(map(escape, names)) for names in (config.tasks, config.modalities)
    )
    return f"""# {escape(config.name)}

Predicts {tasks} from {modalities}.

Unpublished: not checked for patient data, and without a model card. `clintune publish` does both.
"""
