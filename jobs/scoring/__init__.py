"""One scoring run: from the input's rows to scores that are audited and published."""
