"""Methods compared on the same samples, folds and seeds, as one page."""
