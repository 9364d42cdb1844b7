"""Score a table in one run: read, group, score, audit, publish."""
