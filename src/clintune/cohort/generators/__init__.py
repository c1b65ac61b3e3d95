"""Made-up cohorts: people who never lived, drawn without a network or any data."""
