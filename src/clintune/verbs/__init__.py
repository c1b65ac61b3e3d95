"""The verbs, one file for those of a kind: read arguments, check them, then import what does the work."""
