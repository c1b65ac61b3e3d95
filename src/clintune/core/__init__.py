"""What every room needs and no library has: errors, whole files, locks, paths, seeds, the console."""
