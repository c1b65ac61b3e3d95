"""An opened recipe: its cohorts, folds, data of a fold, provenance, and run folder."""
