"""Replace partitions so that a reader sees the old or the new, and nothing else."""
