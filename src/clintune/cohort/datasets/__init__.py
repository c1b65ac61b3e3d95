"""One file a public data set: a function that writes it as a cohort."""
