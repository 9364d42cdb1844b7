"""What a job writes to its log, and what must never be in it."""
