"""Nothing of a patient is in a release, wherever it hides."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from clintune.config.compose import compose_recipe
from clintune.contracts import Item
from clintune.core.errors import PackageError
from clintune.experiment.open import open_experiment
from clintune.publishing.gate import check_answers
from clintune.publishing.privacy.leaks import Search, search_for_canaries, search_for_patients
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel

WORD = "MRN-5512-7788x"
SENTENCE = "Wohnt seit dem Brand im Heizungskeller der alten Mühle bei ihrer Schwester."
PHOTO = "portrait_mueller"


@pytest.fixture
def samples(recipe, cohort):
    """Return a cohort's samples; one subject has its own record number, sentence and photo."""
    shard = sorted((cohort / "data").glob("*.parquet"))[0]
    table = pl.read_parquet(shard)
    note, image = (
        table[column].is_not_null().arg_true()[0] for column in ("text_value", "image_path")
    )
    texts, paths = table["text_value"].to_list(), table["image_path"].to_list()
    (cohort / paths[image]).rename(cohort / f"images/{PHOTO}.png")
    texts[note], paths[image] = f"{texts[note]} {WORD}. {SENTENCE}", f"images/{PHOTO}.png"
    table = table.with_columns(text_value=pl.Series(texts), image_path=pl.Series(paths))

    # Ids of seven digits, in every table.
    ids = pl.col("subject_id") + 7_310_000
    table.with_columns(ids).write_parquet(shard)
    for path in [
        *(cohort / "data").glob("*.parquet"),
        *(cohort / "labels").glob("*.parquet"),
        *(cohort / "metadata").glob("*splits.parquet"),
    ]:
        if path != shard:
            pl.read_parquet(path).with_columns(ids).write_parquet(path)
    return open_experiment(compose_recipe(recipe(cohort), [])).samples


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "release"
    (folder / "member-0").mkdir(parents=True)
    (folder / "README.md").write_text("# A model\n\nFor research. Not a medical device.\n")
    (folder / "member-0" / "clintune.yaml").write_text("seed: 7240657284785733855\nname: x\n")
    (folder / "calibration.json").write_text(
        json.dumps({"slope": 0.123456789012345, "sha256": "7310001" * 9 + "a"})
    )
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    save_file({"layers.0.weight": values}, folder / "parts.safetensors")
    return folder


def refusal(folder, samples):
    with pytest.raises(PackageError) as error:
        search_for_patients(folder, samples, np.flatnonzero(samples.labelled()))
    message = str(error.value)
    for secret in (WORD, "7788", "Heizungskeller", PHOTO):
        assert secret.lower() not in message.lower()
    assert "\n" not in message
    return message


def test_a_clean_release_passes(samples, release):
    search_for_patients(release, samples, np.flatnonzero(samples.labelled()))


@pytest.mark.parametrize("secret", [WORD, SENTENCE, PHOTO], ids=["record", "note", "media"])
@pytest.mark.parametrize("hide", ["markdown", "json", "yaml", "names", "remarks"])
def test_what_is_a_patients_is_found_in_every_kind_of_file(samples, release, secret, hide):
    where = {
        "markdown": "README.md",
        "json": "calibration.json",
        "yaml": "member-0/clintune.yaml",
        "names": "parts.safetensors",
        "remarks": "parts.safetensors",
    }[hide]
    if hide == "markdown":
        (release / where).write_text("# A model\n\n" + secret.upper().replace(" ", "\n  "))
    elif hide == "json":
        (release / where).write_text(json.dumps({"reasons": [{"outcome": f"as in {secret}"}]}))
    elif hide == "yaml":
        (release / where).write_text(f'a: 1\nb: ["{secret}"]\n')
    elif hide == "names":
        save_file({secret: torch.zeros(2)}, release / where)
    else:
        save_file({"w": torch.zeros(2)}, release / where, metadata={"comment": secret})
    message = refusal(release, samples)

    assert message.startswith(f"{where} of the release holds ")
    assert {WORD: "a record number", SENTENCE: "text of a note", PHOTO: "the name of a media file"}[
        secret
    ] in message
    assert "row" in message


@pytest.mark.parametrize("secret", [WORD, PHOTO], ids=["record", "media"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_words_among_the_bytes_of_tensors_are_found(samples, release, secret, encoding):
    path = release / "parts.safetensors"
    data = bytearray(path.read_bytes())
    hidden = secret.encode(encoding)
    data[200_001 : 200_001 + len(hidden)] = hidden
    path.write_bytes(data)
    assert refusal(release, samples).startswith("parts.safetensors of the release holds")


def test_subject_ids_are_found_as_numbers_of_their_own_only(samples, release):
    subject = int(samples.subject_id[0])
    assert subject > 7_310_000
    (release / "README.md").write_text(
        f"checksum {subject}{'0123456789abcdef' * 2}, and 99{subject}, and 0.{subject}"
    )
    search_for_patients(release, samples, np.flatnonzero(samples.labelled()))
    (release / "README.md").write_text(f"as in patient_{subject}.")
    assert "README.md of the release holds a subject id" in refusal(release, samples)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_canaries_of_any_length_are_found_anywhere(release, encoding):
    search_for_canaries(release, ["Zx9"])
    path = release / "parts.safetensors"
    path.write_bytes(path.read_bytes()[:-20] + "Zx9".encode(encoding).ljust(20, b"\x00"))
    with pytest.raises(
        PackageError,
        match=r"^parts\.safetensors of the release holds a canary, from number 2 of 2;",
    ):
        search_for_canaries(release, ["never", "Zx9"])
    (release / "calibration.json").write_text(json.dumps({"reason": "grüße"}))
    with pytest.raises(PackageError, match=r"^calibration\.json"):
        search_for_canaries(release, ["grüße"])


@pytest.mark.parametrize("num_subjects", [10, 11])
def test_a_phrase_that_many_subjects_share_is_no_ones(num_subjects):
    phrase = "chronic obstructive pulmonary disease (covid-2019)"
    search = Search({"README.md": f"for patients with {phrase}, at discharge"}, {"README.md": ""})
    for subject in range(num_subjects):
        for row in range(3):
            text = f"Known {phrase.title()}."
            search.look_for(
                subject, Item(hours=0.0, code="NOTE", where=f"data: row {row}", text=text)
            )
    if num_subjects < 11:
        with pytest.raises(
            PackageError, match=r"README\.md of the release holds .* from data: row 0"
        ):
            search.refuse()
    else:
        search.refuse()


@pytest.mark.parametrize("offset", range(0, 31, 3))
def test_thirty_characters_in_a_row_are_found_anywhere(offset):
    note = "the quick brown fox jumps over the lazy dog and runs into the deep dark wood again"
    for length, found in ((30, True), (29, False)):
        search = Search({"a.md": f"#{note[offset : offset + length]}#"}, {"a.md": ""})
        search.look_for(0, Item(hours=0.0, code="NOTE", where="data: row 0", text=note))
        if found:
            with pytest.raises(PackageError):
                search.refuse()
        else:
            search.refuse()


@pytest.mark.parametrize(
    "written", ["tel:+49-170/1234567", "MRN_12345678", "(born 12.03.1960)", "id=A17-0042-9;"]
)
@pytest.mark.parametrize("copied", [True, False])
def test_numbers_are_found_without_what_a_note_puts_around_them(written, copied):
    core = {"tel": "49-170/1234567", "MRN": "12345678", "(bo": "12.03.1960", "id=": "a17-0042-9"}[
        written[:3]
    ]
    text = f"a {core} b" if copied else f"a {core[:-1]} b"
    search = Search({"README.md": text}, {"README.md": ""})
    search.look_for(
        0, Item(hours=0.0, code="NOTE", where="data: row 0", text=f"Seen, {written}, well.")
    )
    if copied:
        with pytest.raises(PackageError, match="a record number"):
            search.refuse()
    else:
        search.refuse()


RARE, POLICY = "DIAG//QUARTERMAIN_SYNDROME", "INSURANCE//POL-5531-0097"


@pytest.fixture
def coded(recipe, cohort):
    """Return a function that gives a cohort's samples, in which so many subjects have a code."""

    def coded(code, number):
        for shard in sorted((cohort / "data").glob("*.parquet")):
            table = pl.read_parquet(shard)
            having = table["subject_id"].unique().sort()[:number]
            rows = [{"subject_id": subject, "time": None, "code": code} for subject in having]
            pl.concat([table, pl.DataFrame(rows, schema=table.schema)]).write_parquet(shard)
            number -= len(having)
        assert number == 0
        return open_experiment(compose_recipe(recipe(cohort), [])).samples

    return coded


def about(**sections):
    return json.dumps(
        {"statistics": {}, "composition": {"modalities": {}}} | sections
    )  # JSON is YAML


HIDING = {
    "statistics": (
        "clintune.yaml",
        lambda code: about(statistics={"static": {"codes": {code: {"mean": 4711.625}}}}),
    ),
    "recipe": (
        "member-0/clintune.yaml",
        lambda code: about(composition={"modalities": {"static": {"codes": [code]}}}),
    ),
    "card": ("README.md", lambda code: f"# A model\n\nKnows {code.lower()}.\n"),
    "names": ("parts.safetensors", lambda code: None),
}


@pytest.mark.parametrize("code", [RARE, POLICY, "F9"])
@pytest.mark.parametrize("hide", HIDING)
def test_a_code_that_ten_subjects_have_is_found(coded, release, code, hide):
    name, write = HIDING[hide]
    samples = coded(code, 10)
    if hide == "names":
        save_file({code: torch.zeros(2)}, release / name)
    else:
        (release / name).write_text(write(code))
    rows = np.flatnonzero(samples.labelled())
    if code == "F9" and hide in ("card", "names"):
        search_for_patients(release, samples, rows)  # too short to be told from other words
        return
    with pytest.raises(PackageError) as error:
        search_for_patients(release, samples, rows)

    message = str(error.value)
    assert message.startswith(
        f"{name} of the release holds a code that fewer than 11 subjects have, from data/"
    )
    assert "row" in message
    assert code.lower() not in message.lower()


def test_a_code_that_eleven_subjects_have_is_no_ones(coded, release):
    samples = coded(POLICY, 11)
    (release / "clintune.yaml").write_text(
        about(statistics={"static": {"codes": {POLICY: {"mean": 1.0}}}})
    )
    (release / "README.md").write_text("The codes of POL-5531-0097 are known.")
    search_for_patients(release, samples, np.flatnonzero(samples.labelled()))


@pytest.mark.parametrize(
    "text", ["as in POL-5531-0097.", "INSURANCE//POL-5531-0097", "as in 55310097"]
)
def test_numbers_within_a_rare_code_are_found_by_themselves(coded, release, text):
    samples = coded("INSURANCE//POL-5531-0097//55310097", 1)
    (release / "README.md").write_text(text)
    with pytest.raises(
        PackageError, match=r"^README\.md of the release holds a record number.* from data/.*row"
    ):
        search_for_patients(release, samples, np.flatnonzero(samples.labelled()))


def test_a_longer_or_shorter_code_is_another(coded, release):
    samples = coded("LAB//50912", 3)
    (release / "README.md").write_text("LAB//509123, XLAB//50912, LAB//5091")
    search_for_patients(release, samples, np.flatnonzero(samples.labelled()))


class Answered:
    """Samples of which only the answers and whose they are count."""

    def __init__(self, targets, subject):
        self._targets, self.subject = targets, subject

    def targets(self, task):
        return self._targets

    def keys(self, rows):
        return [f"made_up#{row}" for row in rows]


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("number", [0, 1, 10, 11])
def test_a_class_that_ten_subjects_have_is_refused_unnamed(exclusive, number):
    subject = np.repeat(np.arange(30), 2)  # each has two samples
    rare = subject < number
    targets = np.where(rare, 2.0, 0.0)[:, None]
    targets = targets if exclusive else np.stack([~rare, ~rare, rare], axis=1).astype(float)
    names = ["a", "b", "quartermain"]
    task = (
        Multiclass(label="kind", classes=names)
        if exclusive
        else Multilabel(label="kind", phenotypes=names)
    )
    if not 0 < number < 11:
        check_answers(Answered(targets, subject), {"kind": task})
        return

    with pytest.raises(
        PackageError,
        match=r"^tasks\.kind: fewer than 11 subjects have answer 3 of 3, as sample made_up#0,",
    ):
        check_answers(Answered(targets, subject), {"kind": task})


@pytest.mark.parametrize("number", [10, 11])
def test_a_phenotype_alone_is_refused_but_no_yes_or_no(number):
    subject = np.arange(30)
    samples = Answered((subject < number).astype(float)[:, None], subject)
    check_answers(samples, {"kind": Binary(label="kind")})
    only = {"kind": Multilabel(label="kind", phenotypes=["quartermain"])}
    if number >= 11:
        check_answers(samples, only)
        return
    with pytest.raises(
        PackageError, match=r"^tasks\.kind: fewer than 11 subjects have answer 1 of 1, as sample"
    ):
        check_answers(samples, only)
