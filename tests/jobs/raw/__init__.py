"""Tests of `jobs.raw`."""
