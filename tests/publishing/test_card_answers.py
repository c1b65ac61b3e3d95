import pytest

from clintune.core.errors import ConfigError
from clintune.publishing.card_answers import OPEN, QUESTIONS, read_answers, require_answers


def test_the_first_reading_leaves_every_question_open(tmp_path):
    answers = read_answers(tmp_path, "mine")
    assert answers.open == list(QUESTIONS)
    assert read_answers(tmp_path, "mine") == answers
    assert answers["limits"] == OPEN
    with pytest.raises(
        ConfigError,
        match=r"open in .*card\.yaml: description, intended_use, .*; fill in, or add --draft",
    ):
        require_answers(answers, tmp_path)


def test_a_shipped_recipe_says_what_it_is(tmp_path):
    assert read_answers(tmp_path, "icu_admission")["description"].startswith(
        "ICU admission from chest X-ray"
    )


def test_answers_are_kept_and_only_the_missing_ones_are_named(tmp_path):
    read_answers(tmp_path, "mine")
    path = tmp_path / "card.yaml"
    path.write_text(
        path.read_text()
        .replace("limits:", "limits: >\n  Small\n  cohort.")
        .replace("grid_intensity:", "grid_intensity: 381")
    )
    answers = read_answers(tmp_path, "mine")
    assert answers["limits"] == "Small cohort."
    assert answers.grams_a_kwh == 381
    assert {*QUESTIONS} - {*answers.open} == {"limits", "grid_intensity"}


def test_a_grid_that_is_unknown_has_no_intensity(tmp_path):
    (tmp_path / "card.yaml").write_text("grid_intensity: unknown\n")
    assert read_answers(tmp_path, "mine").grams_a_kwh is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("limit: none\n", "did you mean 'limits'"),
        ("limits: [a, b]\n", "limits is a list"),
        ("- a\n", "no answers by name"),
        ("a: b: c\n", "not YAML"),
    ],
)
def test_what_cannot_be_an_answer_is_refused(tmp_path, text, says):
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_answers(tmp_path, "mine")
