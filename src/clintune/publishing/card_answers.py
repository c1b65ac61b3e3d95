"""What only a person can say of a model: `card.yaml` in the run folder, a file to edit.

It is read without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clintune.config.recipes import shipped_recipes, summary
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError
from clintune.core.files import write_text

FILE = "card.yaml"
OPEN = "**open**"
QUESTIONS = {
    "description": "What the model is, in a sentence or two.",
    "intended_use": "Who should use it for what: setting, patients, moment of the prediction.",
    "out_of_scope": "What it must not be used for, and for whom it was not tested.",
    "limits": "Known weaknesses, biases, and what would make it fail.",
    "data_license": "Under which licence or agreement the training data were used, and the ethics "
    "approval.",
    "license": "Licence of the model, by its name on the Hugging Face Hub: apache-2.0, "
    "cc-by-nc-4.0, other, ...",
    "language": "Language of the notes, two letters (en), or none.",
    "contact": "Who answers questions: a name or an address.",
    "country": "Country or region whose grid fed the machines.",
    "grid_intensity": "Grams of CO2 equivalents a kWh of that grid, a number, or unknown.",
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A person's answers by the names in `QUESTIONS`; those of `open` are missing."""

    given: Mapping[str, str]

    @property
    def open(self) -> list[str]:
        """Return the names of the questions that nobody answered."""
        return [name for name in QUESTIONS if name not in self.given]

    def __getitem__(self, name: str) -> str:
        return self.given.get(name, OPEN)

    @property
    def grams_a_kwh(self) -> float | None:
        """Return the grid's intensity, None where it is unknown."""
        try:
            return float(self["grid_intensity"])
        except ValueError:
            return None


def read_answers(run: Path, recipe: str) -> Answers:
    """Read the answers in a run folder; where there is no file, write one to fill in.

    Raises ConfigError for a file that is not YAML, a question that does not exist or an answer that
    is no text.
    """
    path = run / FILE
    if not path.exists():
        write_text(path, _template(recipe))
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML; write each answer as NAME: TEXT") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: no answers by name; write each answer as NAME: TEXT")

    for name, value in values.items():
        if name not in QUESTIONS:
            raise ConfigError(f"{path}: key '{name}' does not exist{nearest(str(name), QUESTIONS)}")
        if isinstance(value, list | dict):
            raise ConfigError(f"{path}: {name} is a list or mapping; write it as text")

    return Answers(given={name: text for name, value in values.items() if (text := _text(value))})


def require_answers(answers: Answers, run: Path) -> None:
    """Raise ConfigError that names every open question."""
    if answers.open:
        raise ConfigError(
            f"open in {run / FILE}: {', '.join(answers.open)}; fill in, or add --draft"
        )


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _template(recipe: str) -> str:
    """Return a file to fill in; of a shipped recipe the description is known."""
    shipped = shipped_recipes()
    known = {"description": summary(shipped[recipe])} if recipe in shipped else {}
    lines = [
        "# What the model card says that only a person can. Text after the colon; `>` begins "
        "several lines.",
        "",
    ]
    for name, question in QUESTIONS.items():
        answer = yaml.safe_dump(known[name], width=10_000).splitlines()[0] if name in known else ""
        lines += [f"# {question}", f"{name}: {answer}".rstrip(), ""]
    return "\n".join(lines)
