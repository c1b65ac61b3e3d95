"""A hint names what is near, or some of what there is."""

from clintune.config.suggest import nearest


def test_a_hint_names_the_nearest_or_the_first_twenty():
    assert nearest("auroq", ["auroc", "brier"]) == "; did you mean 'auroc'?"
    assert nearest("xyz", ["b", "a"]) == "; known: a, b"
    assert nearest("xyz", []) == ""
    listed = nearest("LAB", [f"{number:03}" for number in range(120)])
    assert listed.endswith(" and 100 more")
    assert listed.count(",") == 19
