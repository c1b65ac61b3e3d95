"""Processes: started here or by SLURM, stopped by signals, watched by their status file."""
