"""An opened recipe: cohorts, folds, data of a fold, provenance, what its run folder tells."""
