"""Tests of `jobs.marts`."""
