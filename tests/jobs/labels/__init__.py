"""Tests of `jobs.labels`."""
