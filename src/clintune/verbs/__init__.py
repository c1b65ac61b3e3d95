"""The verbs, one file each: read arguments, check them, then import what does the work."""
