"""What rooms need and no library has: errors, problems, atomic files, locks, paths, console."""
