"""From an experiment to adapter packages: the loop and what only the loop needs."""
