"""What every room needs and no library has: errors, atomic files, locks, paths, seeds, console."""
