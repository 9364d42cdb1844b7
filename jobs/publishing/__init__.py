"""Replace partitions atomically, under a lock, so that a reader sees the old rows or the new ones."""
