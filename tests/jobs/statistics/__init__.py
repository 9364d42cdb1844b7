"""Tests of `jobs.statistics`."""
