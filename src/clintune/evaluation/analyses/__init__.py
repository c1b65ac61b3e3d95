"""Questions about a run, a file each: `run(context)` answers it, `section` shows it."""
