"""Cohorts on disk: found or written, indexed, cut at the prediction times, split by subject."""
