"""The modalities: one file each, from the rows of a cohort to tokens."""
