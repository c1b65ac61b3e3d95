"""The methods that suites name, and what people call them."""

BASELINES = {
    "prevalence": "prevalence",
    "logistic": "logistic regression",
    "logistic_mean": "logistic regression with means",
    "boosting": "gradient boosting",
    "tfidf": "TF-IDF, logistic regression",
    "late_logistic": "late fusion of logistic regressions",
    "late_boosting": "late fusion of gradient boosting",
}
"""Methods of scikit-learn."""
PEERS = {"autogluon": "AutoGluon MultiModal", "pyhealth": "PyHealth"}
"""Other libraries, each in an environment of its own."""
EMBEDDED = ("logistic", "logistic_mean", "boosting")
"""Methods that read the frozen embeddings of all modalities, or as `NAME/MODALITY` of one alone."""


def split_name(method: str) -> tuple[str, str | None]:
    """Split `logistic/notes` into the baseline's name and its only modality (None: all)."""
    name, _, modality = method.partition("/")
    return name, modality or None


def label(method: str) -> str:
    """Return what people call a method."""
    if is_own(method):
        return f"clintune, {method}"
    name, modality = split_name(method)
    reads = modality or ("all" if name in EMBEDDED else None)
    known = {**BASELINES, **PEERS}[name]
    return f"{known}, {reads}" if reads else known


def is_own(method: str) -> bool:
    """Return whether a method is a model of clintune's own rather than a baseline."""
    return split_name(method)[0] not in {*BASELINES, *PEERS}
