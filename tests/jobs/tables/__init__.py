"""Tests of `jobs.tables`."""
