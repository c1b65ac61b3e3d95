"""What is found out about a run, a question a file: `run(context)` answers it, `section` shows it."""
