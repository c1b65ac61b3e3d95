"""How the methods of a benchmark were measured, in words for its page."""

from collections.abc import Sequence

from clintune.benchmark.table import Row
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.report.section import Points, Section

_FEW_SEEDS = 10


def how_measured(rows: Sequence[Row]) -> Section:
    """Return the section that says what was the same for all methods, and what a score is."""
    seeds = max(len(row.entry.seeds) for row in rows)
    libraries = {a["library"] for row in rows for a in row.entry.about if a.get("library")}
    few = "with so few seeds it shows little of how much seeds matter."

    sentences = [
        "Every method has the same patients, folds, features and labels; everything is "
        "fitted on the training patients of each fold alone. With "
        f"{seeds} seed{'' if seeds == 1 else 's'}, a seed is that of the model and, "
        "where folds are drawn, of the folds.",
        "A score is the mean over folds and seeds. Its interval comes from drawing "
        "patients, and then seeds, again and again; "
        f"{few if seeds < _FEW_SEEDS else 'all methods share the draws.'} Differences "
        "are taken draw by draw.",
        "Logistic regression and gradient boosting read what the frozen encoders make "
        "of each kind of data, averaged over a sample, and plain facts as numbers "
        "(HAIM; Soenksen et al., 2022). Where a kind of data is absent, logistic "
        "regression gets zeros and a mark, gradient boosting sends it down a branch of "
        "its own. Late fusion fits each kind of data by itself and averages those a "
        "sample has.",
        *map(_of_library, sorted(libraries)),
        "The best baseline was chosen by its score on these very patients: a difference "
        "to it is a little too strict.",
        "Seconds are those of the fits of all folds together. The frozen encoders have "
        "run before, once for all methods. clintune's own seconds include opening data "
        "and models. Memory is the most that a method's processes held at a time.",
        f"Counts under {SMALLEST_SHOWN} are not shown.",
    ]
    return Section("How it was measured", [Points(sentences)])


def _of_library(library: str) -> str:
    return (
        f"{library} ran in an environment of its own, within a time limit. Of what a sample has it "
        "reads, as far as it can, the plain numbers, the notes as one text and the newest image, "
        "and it starts from the recipe's pretrained weights where it takes them. Its seconds "
        "include what it makes of text and images."
    )
