"""A model over a whole cohort: shards that processes share, resumed after a stop."""
