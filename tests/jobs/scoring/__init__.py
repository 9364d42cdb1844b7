"""Tests of `jobs.scoring`."""
