"""Compute shares, intervals, tests and sketches, as SQL and Spark columns of sums that merge."""
