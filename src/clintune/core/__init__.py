"""What rooms need and no library has: errors, problems, files, locks, paths, seeds, console."""
