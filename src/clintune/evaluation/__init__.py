"""How good a run is on held-out subjects: metrics with intervals, analyses, the report."""
