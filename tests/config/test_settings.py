"""The page of settings has every key of its sections, and the defaults that hold."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml

from clintune.config.compose import compose_recipe
from clintune.config.schema import Model, Splits, Trainer

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("title", "section"), [("trainer", Trainer), ("model", Model), ("cohorts.NAME.splits", Splits)]
)
def test_every_key_stands_on_the_page_with_its_default(title, section):
    text = PAGE.partition(f"## `{title}`\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (\S+) \| \S", text, re.M))
    assert list(told) == [item.name for item in fields(section)]
    for item in fields(section):
        default = item.default_factory() if item.default is MISSING else item.default
        read = yaml.safe_load(told[item.name])
        assert (float(read) if isinstance(default, float) else read) == default, item.name


def test_the_quick_recipe_and_the_cohorts_of_the_page_compose(tmp_path):
    page = (DOCS / "bring_your_data.md").read_text(encoding="utf-8")
    readmission, cohorts, quick = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (tmp_path / "try.yaml").write_text(quick)
    assert compose_recipe(tmp_path / "try.yaml").backbone.source == "random"
    own = readmission.replace("  - cohort: [meds]\n", "")
    own = re.sub(r"cohorts:\n  meds: .*\n", cohorts, own)
    (tmp_path / "two.yaml").write_text(own)
    assert list(compose_recipe(tmp_path / "two.yaml").cohorts) == ["north", "south"]
