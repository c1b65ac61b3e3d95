"""What a look at the media finds before training."""

import numpy as np
import pytest
from PIL import Image

from clintune.cli import main
from helpers.spoiling import media


@pytest.fixture
def dry(recipe, capsys):
    def run(root):
        code = main(["train", str(recipe(root)), "--dry-run"])
        assert code == 0
        return " ".join(capsys.readouterr().err.split())

    return run


def test_images_of_nearly_one_shade_are_told_where_they_are_many(dry, cohort):
    paths = dict.fromkeys(media(cohort, "image_path", 10**6))
    for number, path in enumerate(list(paths)[:10]):
        Image.fromarray(np.full((50, 30), number, np.uint8)).save(path)
    assert "nearly one shade" not in dry(cohort)
    for number, path in enumerate(paths):
        Image.fromarray(np.full((50, 30), number, np.uint8)).save(path)
    assert (
        "imaging: 100 % of the items looked at are of nearly one shade; "
        "look whether they are what they" in dry(cohort)
    )


def test_a_cohort_as_it_should_be_is_not_told_of(dry, quickstart):
    assert "nearly one shade" not in dry(quickstart)
