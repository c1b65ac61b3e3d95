"""The verb as a person uses it: wrong arguments at once, and the address as the last line."""

import json

import pytest

from clintune.cli import main
from conftest import evaluate, run_python, train


@pytest.fixture
def bare(tmp_path):
    """Return a folder that is a run as far as arguments go."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("name: x\nbackbone: {source: random}\n")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["huub=x"], "key 'huub' does not exist; did you mean 'hub'?"),
        (["canary=x"], "did you mean 'canaries'?"),
        (["tag=v1"], "tag says how to send to a hub; add hub=ADDRESS"),
        (["--public"], "--public says how to send to a hub"),
        (["canaries=nowhere.txt"], "canaries=nowhere.txt is no file with text"),
        (["hub=hf://name"], "no repository of the Hugging Face Hub"),
        ([], "card.yaml: description, intended_use"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(bare, capsys, words, says):
    assert main(["publish", str(bare), *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("kept", [0, 20])
def test_a_recipe_that_was_cut_off_is_named(bare, capsys, kept):
    recipe = bare / "recipe.yaml"
    recipe.write_text(recipe.read_text()[:kept] + "  [" * bool(kept))
    assert main(["publish", str(bare), "--draft"]) == 2
    said = capsys.readouterr().err
    assert "recipe.yaml: not a whole config of this version of clintune" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", [["huub=x"], []], ids=["a wrong key", "open questions"])
def test_wrong_arguments_are_refused_before_torch_is_imported(bare, words):
    code = (
        "import sys; from clintune.cli import main; "
        f"code = main(['publish', {str(bare)!r}, *{words}])"
    )
    done = run_python("-c", f"{code}; sys.exit(3 if 'torch' in sys.modules else code)")
    assert done.returncode == 2, done.stderr


def test_a_run_is_released_and_sent_and_the_address_comes_last(recipe, tmp_path, capsys):
    run = train(recipe(), "trainer.max_steps=2")
    evaluate(run)
    capsys.readouterr()
    assert main(["publish", str(run)]) == 2
    assert "open in" in capsys.readouterr().err
    assert main(["publish", str(run), "--draft"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "release")

    (tmp_path / "canaries.txt").write_text("Zx-canary-9\n\nanother one\n")
    words = ["--draft", f"hub={tmp_path / 'hub'}", f"canaries={tmp_path / 'canaries.txt'}"]
    assert main(["publish", str(run), *words]) == 0

    address = capsys.readouterr().out.splitlines()[-1]
    manifest = json.loads((tmp_path / "hub" / "MANIFEST.json").read_text())
    assert manifest == json.loads((run / "release" / "MANIFEST.json").read_text())
    assert address == str(tmp_path / "hub")
    assert "for 2 canary strings" in (tmp_path / "hub" / "README.md").read_text()
