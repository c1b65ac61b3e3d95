"""From rows to answers: the only loop, outside training, that runs a model on batches."""
